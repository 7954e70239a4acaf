"""The metric of each task: when two runs of a model lead to the same answer."""

import math

import numpy as np
import pytest

from appliance.convert.task import Task
from appliance.convert.validation.metrics import difference


def floats(*values):
    return np.array(values, dtype=np.float32)


def compare(reference, found, task=Task.TENSORS, **options):
    return difference(task, {"logits": np.asarray(reference)}, {"logits": np.asarray(found)}, **options)


def test_tensors_agree_element_by_element():
    measured = compare(floats(1, 1, 1, 1000), floats(1, 1.0005, 1.5, 1000))

    # The third is off by half of itself, though by little of the largest: it still may be off by 1e-3 of 1e-3 only.
    assert measured.agreement == 0.75


def test_tensors_forgive_what_rounding_leaves_near_zero():
    assert compare(floats(1000, 1e-7), floats(1000, 3e-7)).agreement == 1


@pytest.mark.parametrize("task", [Task.IMAGE_CLASSIFICATION, Task.AUDIO_CLASSIFICATION, Task.TEXT_CLASSIFICATION])
def test_classifiers_agree_by_their_first_class(task):
    reference = floats(*[[1, 2, 0], [5, 1, 1], [0, 0, 1], [3, 4, 5]])
    found = floats(*[[1, 2.5, 0], [5, 1, 4], [0, 2, 1], [3, 4, 5]])

    assert compare(reference, found, task).agreement == 0.75


def test_tied_classes_may_come_out_either_way():
    tie = np.nextafter(np.float32(7), np.float32(8))

    assert compare(floats(7, tie, 1)[None], floats(tie, 7, 1)[None], Task.IMAGE_CLASSIFICATION).agreement == 1
    assert compare(floats(tie, 7, 1)[None], floats(7, tie, 1)[None], Task.IMAGE_CLASSIFICATION).agreement == 1


def test_a_tie_excuses_no_third_class():
    assert compare(floats(7, 7, 1)[None], floats(7, 7, 8)[None], Task.IMAGE_CLASSIFICATION).agreement == 0


def test_a_gap_larger_than_rounding_is_no_tie():
    assert compare(floats(7, 7.001)[None], floats(7.001, 7)[None], Task.IMAGE_CLASSIFICATION).agreement == 0


def test_a_single_class_is_a_yes_or_no():
    reference, found = floats(2, -1, 3, -4)[:, None], floats(1, -1, -3, -4)[:, None]

    assert compare(reference, found, Task.TEXT_CLASSIFICATION).agreement == 0.75


def test_a_yes_or_no_at_zero_is_tied():
    assert compare(floats([1e-7], [5]), floats([-1e-7], [5]), Task.TEXT_CLASSIFICATION).agreement == 1
    assert compare(floats([1e-4], [5]), floats([-1e-4], [5]), Task.TEXT_CLASSIFICATION).agreement == 0.5


def test_a_classifier_may_call_its_only_output_as_it_likes():
    measured = difference(
        Task.IMAGE_CLASSIFICATION,
        {"probabilities": floats(0.4, 0.6)[None]},
        {"probabilities": floats(0.3, 0.7)[None]},
    )

    assert measured.agreement == 1


def test_a_classifier_with_outputs_of_unknown_meaning_is_compared_as_tensors():
    outputs = {"one": floats(1, 2)[None], "two": floats(1, 2)[None]}
    found = {"one": floats(1, 2)[None], "two": floats(1, 3)[None]}

    assert difference(Task.IMAGE_CLASSIFICATION, outputs, found).agreement == 0.5


def test_tokens_of_padding_do_not_count():
    reference = floats(*[[[1, 0], [1, 0], [1, 0], [1, 0]]])
    found = floats(*[[[1, 0], [0, 1], [0, 1], [0, 1]]])
    inputs = {"attention_mask": np.array([[1, 1, 0, 0]])}

    assert compare(reference, found, Task.TOKEN_CLASSIFICATION, inputs=inputs).agreement == 0.5
    assert compare(reference, found, Task.TOKEN_CLASSIFICATION).agreement == 0.25


def test_vectors_of_padding_do_not_count():
    reference = np.ones((1, 3, 4), np.float32)
    found = reference * np.array([1, 2, -1], np.float32)[None, :, None]
    outputs, others = {"last_hidden_state": reference}, {"last_hidden_state": found}
    inputs = {"attention_mask": np.array([[1, 1, 0]])}

    masked = difference(Task.FEATURE_EXTRACTION, outputs, others, inputs=inputs)
    unmasked = difference(Task.FEATURE_EXTRACTION, outputs, others)

    assert masked.agreement == pytest.approx(1)
    assert unmasked.agreement == pytest.approx(-1)
    assert (masked.absolute_error, unmasked.absolute_error) == (1, 2)
    assert (sum(masked.histogram), sum(unmasked.histogram)) == (8, 12)


def test_only_what_has_a_vector_for_each_token_loses_its_padding():
    outputs = {"last_hidden_state": np.ones((1, 3, 2), np.float32), "other": np.ones((1, 2, 2), np.float32)}
    found = outputs | {"other": floats([[1, 1], [1, 3]])}
    inputs = {"attention_mask": np.array([[1, 0, 0]])}

    assert difference(Task.FEATURE_EXTRACTION, outputs, found, inputs=inputs).absolute_error == 2


def test_steps_of_speech_are_no_tokens_of_the_mask():
    reference, found = np.eye(3, dtype=np.float32)[None], np.eye(3, dtype=np.float32)[None, [0, 1, 1]]
    inputs = {"attention_mask": np.array([[1, 1, 0]])}

    assert compare(reference, found, Task.SPEECH_RECOGNITION, inputs=inputs).agreement == 0.5


def test_a_pooled_embedding_decides_where_there_is_one():
    reference = {"last_hidden_state": np.ones((1, 2, 2), np.float32), "sentence_embedding": floats([1, 1])}
    found = {"last_hidden_state": floats([[1, 1], [1, -1]]), "sentence_embedding": floats([1, 1])}

    assert difference(Task.FEATURE_EXTRACTION, reference, found).agreement == pytest.approx(1)


def test_a_picture_has_one_vector_and_not_one_for_each_line_of_pixels():
    reference = np.ones((2, 3, 1, 1), np.float32)
    found = reference.copy()
    found[1, 2] = -1

    measured = difference(Task.FEATURE_EXTRACTION, {"pooler_output": reference}, {"pooler_output": found})

    assert measured.agreement == pytest.approx(1 / 3)


def test_segmentation_is_the_mean_over_classes_of_either_map():
    own, other = np.array([[[0, 0], [1, 1]]]), np.array([[[0, 0], [1, 2]]])
    reference, found = (np.moveaxis(np.eye(4, dtype=np.float32)[each], -1, 1) for each in (own, other))

    measured = compare(reference, found, Task.SEMANTIC_SEGMENTATION)

    assert measured.agreement == pytest.approx((1 + 1 / 2 + 0) / 3)  # the fourth class is in neither


def test_segmentation_by_masks_joins_them_with_their_classes():
    classes = floats(*[[[1500, 0, 0], [0, 1500, 0]]])
    masks = np.array([[[[9, -9]], [[-9, 9]]]], np.float32)
    reference = {"class_queries_logits": classes, "masks_queries_logits": masks}
    found = {"class_queries_logits": classes, "masks_queries_logits": masks[:, ::-1]}

    assert difference(Task.SEMANTIC_SEGMENTATION, reference, reference).agreement == 1
    assert difference(Task.SEMANTIC_SEGMENTATION, reference, found).agreement == 0


def test_depths_agree_within_a_quarter_and_at_zero():
    reference = {"predicted_depth": floats(*[[[1, 1, 1, 0, -1, 2]]])}
    found = {"predicted_depth": floats(*[[[1.2, 0.7, -1, 0, -1, 1.9]]])}

    assert difference(Task.DEPTH_ESTIMATION, reference, found).agreement == pytest.approx(4 / 6)


def test_a_decoder_agrees_token_by_token():
    reference, found = np.eye(4, dtype=np.float32)[None], np.eye(4, dtype=np.float32)[None, [0, 0, 0, 3]]
    inputs = {"input_ids": np.zeros((1, 4), np.int64)}

    assert compare(reference, found, Task.SPEECH_RECOGNITION, inputs=inputs).agreement == 0.5


def test_an_encoder_of_speech_agrees_by_its_worst_vector():
    reference = {"last_hidden_state": np.ones((1, 2, 2), np.float32)}
    found = {"last_hidden_state": floats(*[[[1, 1], [1, 0]]])}

    assert difference(Task.SPEECH_RECOGNITION, reference, found).agreement == pytest.approx(math.sqrt(0.5))


def test_pictures_agree_by_the_text_that_fits_best_and_by_their_embeddings():
    reference = {"logits_per_image": floats([3, 1], [1, 3]), "image_embeds": floats([1, 0], [0, 1])}
    found = {"logits_per_image": floats([3, 1], [3, 1]), "image_embeds": floats([1, 0], [1, 1])}

    measured = difference(Task.ZERO_SHOT_IMAGE_CLASSIFICATION, reference, found)

    assert measured.agreement == 0.5
    assert measured.cosine == pytest.approx(math.sqrt(0.5))
