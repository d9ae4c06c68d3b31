"""Finds the program that was installed with this package."""

import os
import sysconfig


def find_program() -> str:
    """The path of the program `panopticon` of this installation.

    Raises FileNotFoundError if it is not there, for example in a copy of the package without its scripts.
    """
    user = "posix_user" if os.name == "posix" else "nt_user"
    # In the environment's own folder, in the user's, or next to the package (`pip install --target`).
    folders = [sysconfig.get_path("scripts"), sysconfig.get_path("scripts", scheme=user)]
    package = os.path.dirname(os.path.abspath(__file__))
    folders.append(os.path.join(os.path.dirname(package), "bin"))
    for folder in folders:
        path = os.path.join(folder, "panopticon")
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise FileNotFoundError("the program panopticon is not in " + ", ".join(folders))
