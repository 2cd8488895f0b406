#!/usr/bin/python3
"""Postfix with the reverse DNS check alone."""

import bench
from postfix import Postfix


class PostfixPtr(Postfix):
    name, slug = "Postfix, reverse DNS alone", "postfix_ptr"
    checks = {"ptr"}


if __name__ == "__main__":
    bench.main(PostfixPtr())
