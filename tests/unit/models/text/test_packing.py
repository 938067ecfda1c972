import torch

from dinotxt.models.text.packing import PackedTexts


def test_only_real_tokens_are_packed_and_texts_of_equal_length_are_neighbours() -> None:
    ids = torch.tensor([[1, 2, 3, 0], [4, 5, 0, 0], [6, 7, 8, 0], [9, 0, 0, 0]])
    texts = PackedTexts.from_batch(ids, torch.tensor([3, 2, 3, 1]))
    assert texts.ids.tolist() == [9, 4, 5, 1, 2, 3, 6, 7, 8]
    assert texts.positions.tolist() == [0, 0, 1, 0, 1, 2, 0, 1, 2]
    assert texts.groups == ((1, 1), (1, 2), (2, 3))


def test_the_last_tokens_come_in_the_order_of_the_batch() -> None:
    ids = torch.tensor([[1, 2, 3, 0], [4, 5, 0, 0], [6, 7, 8, 0], [9, 0, 0, 0]])
    texts = PackedTexts.from_batch(ids, torch.tensor([3, 2, 3, 1]))
    row = texts.ids.unsqueeze(1)
    assert texts.last(row).flatten().tolist() == [3, 5, 8, 9]


def test_a_function_runs_once_for_each_length() -> None:
    ids = torch.arange(12).view(3, 4)
    texts = PackedTexts.from_batch(ids, torch.tensor([4, 2, 4]))
    shapes = []

    def double(part: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(part.shape))
        return part * 2

    assert texts.apply(double, texts.ids.unsqueeze(1)).flatten().tolist() == [
        2 * value for value in (4, 5, 0, 1, 2, 3, 8, 9, 10, 11)
    ]
    assert shapes == [(1, 2, 1), (2, 4, 1)]
