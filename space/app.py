"""A Gradio page over dinotxt, for a Hugging Face Space: ``pip install "dinotxt[lite,gradio]"``.

The server's own page (``dinotxt serve``) does more; this one runs where Gradio is expected.
"""

import os
from typing import Any

import gradio
from PIL import Image

import dinotxt

MODES = {"Whole picture (fast)": None, "Windows (finer)": dinotxt.SlidingWindow()}
OPACITY = 0.5  # of a mask: the picture shows through
ENCODER = dinotxt.load(os.environ.get("DINOTXT_MODEL", "lite"))


def predict(image: Image.Image | None, words: str, mode: str) -> tuple[Any, dict[str, float]]:
    """Return the picture with a mask for each label, and the labels' probabilities."""
    labels = list(dict.fromkeys(word.strip() for word in words.split(",") if word.strip()))
    if image is None or not labels:
        raise gradio.Error("Give a picture and at least one label.")
    try:
        segmentation = dinotxt.Segmenter(ENCODER, labels, mode=MODES[mode])(image)
        classification = dinotxt.ZeroShotClassifier(ENCODER, labels)(image)
    except dinotxt.DinotxtError as error:
        raise gradio.Error(str(error)) from error
    masks = [(OPACITY * segmentation.mask(label), label) for label in labels]
    return (image, masks), dict(classification.top(len(labels)))


page = gradio.Interface(
    predict,
    inputs=[
        gradio.Image(type="pil", label="Picture"),
        gradio.Textbox("road, tree, sky, person", label="What could be in it?"),
        gradio.Radio(list(MODES), value=next(iter(MODES)), label="How closely to look"),
    ],
    outputs=[gradio.AnnotatedImage(label="Where it is"), gradio.Label(label="What it is")],
    title="dinotxt: name things in your own words",
    flagging_mode="never",
)

if __name__ == "__main__":
    page.launch()
