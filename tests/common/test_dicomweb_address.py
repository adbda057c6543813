"""Addresses of studies in archives: what they mean, and which are refused."""

import pytest

from medbundles.dicomweb_address import is_address, parse, parse_service
from medbundles.errors import AddressError

STUDY = "1.2.840.113.7"


@pytest.mark.parametrize(
    ("text", "url", "study", "series"),
    [
        (
            f"dicomweb://127.0.0.1:8042/dicom-web/studies/{STUDY}",
            "http://127.0.0.1:8042/dicom-web",
            STUDY,
            "",
        ),
        (f"dicomweb://localhost/dicom-web/{STUDY}", "http://localhost/dicom-web", STUDY, ""),
        (f"dicomweb://localhost/{STUDY}", "http://localhost", STUDY, ""),
        (f"dicomwebs://pacs.example.org/studies/{STUDY}/", "https://pacs.example.org", STUDY, ""),
        (f"dicomwebs://pacs/a/b-c/rs/studies/{STUDY}/series/7", "https://pacs/a/b-c/rs", STUDY, "7"),
        (f"dicomwebs://pacs/rs/studies/{STUDY}/series/1.2.3", "https://pacs/rs", STUDY, "1.2.3"),
        (f"dicomweb://[::1]:8042/dicom-web/studies/{STUDY}", "http://[::1]:8042/dicom-web", STUDY, ""),
        (f"DICOMweb://127.0.0.1/rs/studies/{STUDY}", "http://127.0.0.1/rs", STUDY, ""),
    ],
)
def test_an_address_names_service_study_and_series(text: str, url: str, study: str, series: str) -> None:
    address = parse(text)
    assert is_address(text)
    assert (address.url, address.study, address.series) == (url, study, series)
    assert parse(str(address)) == address


def test_the_user_is_known_and_not_shown() -> None:
    address = parse(f"dicomwebs://mueller%40clinic@pacs/rs/studies/{STUDY}")
    assert address.user == "mueller@clinic"
    assert "mueller" not in f"{address}{address!r}{address.url}{address.study_address}"


@pytest.mark.parametrize(
    "text",
    [
        "dicomweb://localhost",
        "dicomweb://localhost/dicom-web/studies",
        "dicomweb://localhost/dicom-web/studies/Zwetschge",
        "dicomweb://localhost/dicom-web/studies/1..2",
        "dicomweb://localhost/dicom-web/studies/" + "1." * 40 + "1",
        f"dicomweb://localhost/../admin/studies/{STUDY}",
        f"dicomweb://localhost/a%2fb/studies/{STUDY}",
        f"dicomweb://localhost:port/rs/studies/{STUDY}",
        f"dicomweb://localhost:99999/rs/studies/{STUDY}",
        f"dicomweb:///rs/studies/{STUDY}",
        f"dicomweb://[::1/rs/studies/{STUDY}",
        f"dicomweb://local host/rs/studies/{STUDY}",
        f"dicomweb:localhost/rs/studies/{STUDY}",
        f"dicomweb://localhost/rs/studies/{STUDY}/instances/1.2",
    ],
)
def test_what_is_of_another_form_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(AddressError, match="studies/UID"):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        f"dicomwebs://me:topsecret@pacs/rs/studies/{STUDY}",
        "dicomwebs://me:topsecret@pacs/rs/nothing",
        f"dicomwebs://pacs/rs/studies/{STUDY}?token=topsecret",
        f"dicomwebs://pacs/rs/studies/{STUDY}#topsecret",
        f"dicomwebs://me:topsecret@@pacs:x/rs/studies/{STUDY}",
    ],
)
def test_a_secret_in_an_address_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse(text)
    assert "topsecret" not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["pacs", "10.0.0.7:8042", "127.0.0.1.example.org", "localhost.example.org", "0.0.0.0"]
)
def test_images_do_not_leave_this_machine_unencrypted(host: str) -> None:
    text = f"dicomweb://{host}/rs/studies/{STUDY}"
    with pytest.raises(AddressError, match="dicomwebs://") as caught:
        parse(text)
    assert host in str(caught.value)
    assert parse(text, plain_http=True).url == f"http://{host}/rs"
    assert parse(text.replace("dicomweb:", "dicomwebs:")).secure


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.3.2.1:80", "localhost", "LOCALHOST:8042", "[::1]", "[::1]:8042"]
)
def test_this_machine_may_be_asked_unencrypted(host: str) -> None:
    assert parse(f"dicomweb://{host}/rs/studies/{STUDY}").local


@pytest.mark.parametrize(
    ("text", "url", "user"),
    [
        ("dicomweb://127.0.0.1:8042/dicom-web", "http://127.0.0.1:8042/dicom-web", ""),
        ("dicomweb://reader@localhost/dicom-web/", "http://localhost/dicom-web", "reader"),
        ("dicomwebs://pacs.example.org", "https://pacs.example.org", ""),
    ],
)
def test_an_archive_as_a_whole_has_an_address_without_a_study(text: str, url: str, user: str) -> None:
    address = parse_service(text)
    assert (address.url, address.user, address.study) == (url, user, "")
    assert "studies" not in str(address) and (not user or user not in str(address))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"dicomweb://localhost/dicom-web/studies/{STUDY}", "HOST"),
        ("dicomweb://localhost/../admin", "HOST"),
        ("dicomweb://me:topsecret@localhost/rs", "MEDBUNDLES_DICOMWEB_PASSWORD"),
        ("dicomweb://10.0.0.7:8042/dicom-web", "dicomwebs://"),
    ],
)
def test_an_archive_that_is_not_addressed_safely_is_refused(text: str, said: str) -> None:
    with pytest.raises(AddressError, match=said) as caught:
        parse_service(text)
    assert "topsecret" not in str(caught.value)
