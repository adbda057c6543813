"""A small archive that speaks as much DICOMweb as we do, over real HTTP, and fails as it is told."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pydicom
from pydicom import Dataset

ROOT, BOUNDARY = "/pacs/dicom-web", "a-boundary"
LISTED = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "Modality",
    "SeriesDescription",
    "PatientName",
)


class Server(ThreadingHTTPServer):
    """What is in it, what was asked of it, and how it is to behave.

    Attributes:
        files: by SOPInstanceUID.
        asked: method, path and headers of every request.
        statuses: HTTP statuses that the next requests get instead of an answer.
        cut: the number of next transfers of images that break off in the middle.
        missing: images that are listed and never sent.
        secret: the header `Authorization` that is asked for.
        elsewhere: where every request is sent on to.
        page: an HTML page that answers everything.
        reason: the code with which objects are refused; 0 takes them.
        forgets: whether stored objects are taken and never listed.
        another: a file that is sent in place of the first.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.statuses: list[int] = []
        self.cut = self.missing = self.reason = 0
        self.secret = self.elsewhere = self.page = ""
        self.forgets = False
        self.another = b""
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def address(self) -> str:
        """The beginning of addresses of its studies."""
        return f"dicomweb://127.0.0.1:{self.server_port}{ROOT}/studies"

    def add(self, path: Path) -> None:
        """Puts a file, or all of a folder, into the archive."""
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            self.files[str(pydicom.dcmread(file).SOPInstanceUID)] = file.read_bytes()

    def headers(self, study: str, series: str = "") -> list[Dataset]:
        """The instances of a study, or of one of its series."""
        all_ = [pydicom.dcmread(BytesIO(data)) for data in self.files.values()]
        return [h for h in all_ if h.StudyInstanceUID == study and series in ("", h.SeriesInstanceUID)]

    def stored(self) -> list[str]:
        """The paths that objects were sent to."""
        return [path for method, path, _ in self.asked if method == "POST"]


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        if self._refused():
            return
        path = urlsplit(self.path).path.removeprefix(ROOT)
        found = re.fullmatch(r"/studies(?:/([\d.]+)(?:/(series|instances)(?:/([\d.]+)(/.*)?)?)?)?", path)
        if found is None or not urlsplit(self.path).path.startswith(ROOT):
            return self._send(404, b"<p>not found</p>", "text/html")
        study, level, series, more = found.groups()
        if study is None:
            return self._json([])
        if level == "series" and series is None:
            return self._json(self._series(study))
        images = self.server.headers(study, series or "")
        if more and more.endswith("/metadata"):
            return self._json([json.loads(h.to_json(bulk_data_threshold=64, bulk_data_element_handler=_link))
                               for h in images if h.SOPInstanceUID in more])  # fmt: skip
        if more == "/instances":
            return self._json([] if "offset" in self.path else [_row(h) for h in images])
        return self._images(images)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self._refused():
            return
        part = body.partition(b"\r\n\r\n")[2]
        data = part[: part.rindex(b"\r\n--")]
        dataset, answer = pydicom.dcmread(BytesIO(data)), Dataset()
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = (
            dataset.SOPClassUID,
            dataset.SOPInstanceUID,
        )
        if self.server.reason:
            item.FailureReason = self.server.reason
            answer.FailedSOPSequence = [item]
        else:
            answer.ReferencedSOPSequence = [item]
            if not self.server.forgets:
                self.server.files[str(dataset.SOPInstanceUID)] = data
        status = 409 if self.server.reason else 200
        self._send(status, answer.to_json().encode(), "application/dicom+json")

    def _refused(self) -> bool:
        server, headers = self.server, dict(self.headers)
        server.asked.append((self.command, self.path, headers))
        if server.statuses:
            self._send(server.statuses.pop(0), b"Zwetschge^Quirina", "text/plain")
        elif server.elsewhere:
            self._send(302, b"", "text/plain", Location=server.elsewhere)
        elif server.secret and headers.get("Authorization") != server.secret:
            self._send(401, b"Zwetschge^Quirina", "text/plain")
        elif server.page:
            self._send(200, server.page.encode(), "text/html")
        else:
            return False
        return True

    def _series(self, study: str) -> list[dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = {}
        for header in self.server.headers(study):
            row = rows.setdefault(header.SeriesInstanceUID, _row(header))
            count = row.setdefault("00201209", {"vr": "IS", "Value": [0]})
            count["Value"][0] += 1
        return [] if "offset" in self.path else list(rows.values())

    def _images(self, images: list[Dataset]) -> None:
        datas = [self.server.files[h.SOPInstanceUID] for h in images][self.server.missing :]
        datas = [self.server.another, *datas[1:]] if self.server.another else datas
        head = f"\r\n--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        body = b"".join(head + data for data in datas) + f"\r\n--{BOUNDARY}--".encode()
        if self.server.cut:
            self.server.cut -= 1
            self._send(200, body[: len(body) // 2], _multipart(), length=len(body))
            self.close_connection = True
        else:
            self._send(200, body, _multipart())

    def _json(self, rows: list[dict[str, Any]]) -> None:
        self._send(200, json.dumps(rows).encode(), "application/dicom+json")

    def _send(self, status: int, body: bytes, kind: str, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _multipart() -> str:
    return f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


def _row(header: Dataset) -> dict[str, Any]:
    row = Dataset()
    for name in (*LISTED, "SOPInstanceUID"):
        if name in header:
            row[name] = header[name]
    return json.loads(row.to_json())


def _link(_: object) -> str:
    return "http://127.0.0.1/elsewhere"
