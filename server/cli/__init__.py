"""The `antiphon` command's parts, one file a subcommand: `add_parser(subparsers)`, `run(args)`."""
