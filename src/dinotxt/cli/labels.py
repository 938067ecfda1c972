"""What --labels and --labels-file say."""

from collections.abc import Sequence

import typer


def read_labels(labels: Sequence[str] | None, labels_file: str | None) -> tuple[str, ...]:
    """Return the labels of both options, in the order given.

    Raises:
        typer.BadParameter: If neither option is there.
        ConfigError: If the file cannot be used, or a label is empty.
    """
    from dinotxt.text.class_names import class_names
    from dinotxt.text.prompt import check_labels

    given = [label.strip() for text in labels or () for label in text.split(",")]
    if labels_file is not None:
        given += class_names(labels_file)
    if not given:
        raise typer.BadParameter("give --labels a,b or --labels-file FILE.")
    check_labels(given)  # before a model is loaded
    return tuple(given)
