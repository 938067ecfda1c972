from dinotxt.results.classification import Classification, Label


def _classification() -> Classification:
    labels = (Label("cat", 0.7, 0.31), Label("dog", 0.2, 0.25), Label("car", 0.1, 0.2))
    return Classification("a.jpg", labels)


def test_top_gives_pairs_of_label_and_probability() -> None:
    pairs = [(label, score) for label, score in _classification().top(2)]
    assert pairs == [("cat", 0.7), ("dog", 0.2)]


def test_top_gives_all_labels_when_asked_for_more_than_there_are() -> None:
    assert len(_classification().top(10)) == 3
