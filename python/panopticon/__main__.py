"""`python -m panopticon` is the program `panopticon`."""

import os
import sys

from panopticon._program import find_program

if __name__ == "__main__":
    program = find_program()
    # The process becomes the program, which gets signals itself.
    os.execv(program, [program, *sys.argv[1:]])
