"""Putting a result into an outbox in one step, and seeing what is in it."""

from __future__ import annotations

import os

from rembg_watch import delivery


def put(root, relpath, data=b"picture", *, replace=False, tag="t1", **more):
    with delivery.open_temp(str(root), relpath, tag) as temp:
        temp.file.write(data)
        return delivery.commit(temp, relpath, replace=replace, **more)


def tree(root):
    return sorted(os.path.relpath(os.path.join(at, name), root) for at, _, names in os.walk(root) for name in names)
