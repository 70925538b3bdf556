"""versions.py: the installed packages with their versions."""

import importlib.metadata

import plain

names = {package.metadata["Name"].lower().replace("_", "-"): package.version
         for package in importlib.metadata.distributions()}
plain.answer(names)
