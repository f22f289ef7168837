"""Tests of the package `sshjobs`."""
