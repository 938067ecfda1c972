"""The options that several verbs share, declared once."""

from typing import Annotated, Literal

import typer

from dinotxt.cli.completion import complete_device, complete_model, complete_templates

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="A named model, openclip:NAME/PRETRAINED, hf://OWNER/NAME, or a run or export folder.",
        autocompletion=complete_model,
    ),
]
Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda or cuda:N.", autocompletion=complete_device)
]
BatchSize = Annotated[int, typer.Option(min=1, help="Pictures a forward pass.")]
NumWorkers = Annotated[
    int | None, typer.Option(min=0, help="Threads that decode pictures (default: by machine).")
]
Size = Annotated[
    int | None, typer.Option(min=1, help="Input size in pixels (default: the model's own).")
]
Json = Annotated[
    str | None, typer.Option("--json", metavar="FILE|-", help="Write the result as JSON.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no tables.")]
Mode = Annotated[
    Literal["whole", "window", "highres"] | None,
    typer.Option(help="How a picture is looked at (default: the model's own)."),
]
Crops = Annotated[
    int | None, typer.Option(min=1, help="Crops a picture, for --mode highres (default: 800).")
]
Upsample = Annotated[
    Literal["logits", "features"], typer.Option(help="What is enlarged to pixels.")
]
Background = Annotated[
    float | None, typer.Option(metavar="T", help="Below this cosine a pixel stays unlabelled.")
]
Refine = Annotated[
    Literal["pamr"] | None, typer.Option(help="Move scores to neighbours of like colour.")
]
Embedding = Annotated[
    Literal["patch", "cls_patch", "value", "value_patch"] | None,
    typer.Option(help="What stands for a patch; value is MaskCLIP (default: the model's own)."),
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--labels", help="Comma-separated labels; `a | b` are synonyms. Repeats."),
]
LabelsFile = Annotated[
    str | None, typer.Option(metavar="FILE", help="A file with one label a line.")
]
Templates = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE|TEXT",
        help='Prompt templates, or one such as "a photo of {}".',
        autocompletion=complete_templates,
    ),
]
