"""Loaders of public data sets in the layout in which they are published.

Every loader has `load(root) -> (cases, report)`. A case is a dictionary:

* `image`: path, or a dictionary from contrast to path; `frame`: index in a sweep, where a file holds many;
* `subject`: the group that a split must keep together; `source`: the data set; `kind`: what is labelled;
* `spacing_mm`: (x, y) or None;
* `truth`: {"ellipse": Ellipse in pixels}, {"mask": path}, {"image": path} or {};
* `expected`: measurements with known values, as [{"name", "value", "unit"}].
"""
