from dinotxt.data.pictures.frames import mirrored_name, play_order


def test_frames_are_played_by_their_numbers() -> None:
    frames = ["v/frame10.png", "v/frame2.png", "v/frame1.png", "u/9.png", "u/10.png"]
    assert play_order(frames) == [
        "u/9.png",
        "u/10.png",
        "v/frame1.png",
        "v/frame2.png",
        "v/frame10.png",
    ]


def test_names_of_digits_and_of_letters_can_be_mixed() -> None:
    assert play_order(["b.png", "10.png", "a2b.png", "2.png"]) == [
        "2.png",
        "10.png",
        "a2b.png",
        "b.png",
    ]


def test_results_keep_the_folders_of_their_frames() -> None:
    assert mirrored_name("clips/a/0001.png", "clips") == "a/0001"
    assert mirrored_name("clips/0001.tar.png", "clips") == "0001.tar"
