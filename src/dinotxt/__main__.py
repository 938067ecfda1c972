"""Run the command line with ``python -m dinotxt``."""

from dinotxt.cli.main import main

if __name__ == "__main__":
    main()
