"""What a person may ask of the hub: the same answer whichever way it comes in."""

from __future__ import annotations

from typing import Any

import pytest
from jupyterlab_kf_hub import form, options

from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.manifests.capacity import survey
from jupyterlab_kf.profiles import read

CATALOGUE = read("""
profiles:
  - {slug: small, cpu: 1, memory: 1Gi, default: true, used_for: [server]}
  - {slug: big, display_name: "Big <b>", cpu: {min: 1, max: 8, default: 2}, memory: 4Gi, images: [lab:1, lab:2]}
  - {slug: gpu, cpu: 1, memory: 1Gi, gpus: {min: 1, max: 4}, groups: [research]}
  - {slug: train, used_for: [training]}
limits:
  "*": {servers: 2, cpu: 8}
  research: {gpus: 4, own_image: true}
""")


def test_nothing_said_is_the_default() -> None:
    assert options.check({}, CATALOGUE, []).hardware.profile.slug == "small"


def test_a_form_and_a_body_mean_the_same() -> None:
    form_data = {"hardware": ["big"], "cpu": ["4"], "memory": [""], "environment": ["A=1\n B = x=y \n"], "_xsrf": ["z"]}
    body = {"hardware": "big", "cpu": 4, "environment": {"A": "1", "B": "x=y"}}
    one = options.check(options.from_form(form_data), CATALOGUE, [])
    assert one == options.check(body, CATALOGUE, [])
    assert one.environment == {"A": "1", "B": "x=y"}
    assert one.hardware.limits["cpu"] == "4"


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"profile": "small"}, "there is no option 'profile'"),
        ({"image--unlisted-choice": "evil/x:1"}, "there is no option 'image--unlisted-choice'"),
        ({"hardware": "biig"}, "there is no hardware profile 'biig'"),
        ({"hardware": "gpu"}, "there is no hardware profile 'gpu'"),  # for others, and not told
        ({"hardware": "train"}, "is for training, not for server"),
        ({"hardware": ["big"]}, "hardware is one text, not list"),
        ({"hardware": "big", "cpu": "9"}, "allows 1 CPU to 8 CPUs, not 9 CPUs"),
        ({"hardware": "big", "cpu": {"a": 1}}, "cpu is one text, not dict"),
        ({"hardware": "big", "image": "evil/x:1"}, "does not have the image 'evil/x:1'"),
        ({"hardware": "big", "image": "lab:1/../../evil"}, "does not have the image"),
        ({"gpus": "many"}, "gpus is a whole number, not 'many'"),
        ({"gpus": True}, "gpus is one text, not bool"),
        ({"environment": "A"}, "'A' is not of the form NAME=VALUE"),
        ({"environment": {"A": 1}}, "environment is lines of NAME=VALUE"),
        ({"environment": "JUPYTERHUB_API_TOKEN=x"}, "JUPYTERHUB_API_TOKEN is set by the hub"),
        ({"environment": "LD_PRELOAD=x"}, "LD_PRELOAD is set by the hub"),
        ({"environment": "1A=x"}, "'1A' cannot be the name of an environment variable"),
    ],
)
def test_what_is_refused(said: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        options.check(said, CATALOGUE, ["students"])


def test_groups_open_doors() -> None:
    wish = options.check({"hardware": "gpu", "gpus": "2", "image": "own:1"}, CATALOGUE, ["research"])
    assert wish.hardware.limits["nvidia.com/gpu"] == "2"
    assert wish.hardware.image == "own:1"


def test_limits_count_all_of_ones_servers() -> None:
    def hardware(**said: Any) -> dict[str, str]:
        return options.granted(options.check(said, CATALOGUE, ["research"]).hardware)

    running = hardware(hardware="big", cpu="5")
    assert options.check({"hardware": "big", "cpu": "3"}, CATALOGUE, [], [running])
    with pytest.raises(
        UsageError, match="you may have 8 CPUs at a time, and this is more; your other servers have 5 CPUs"
    ):
        options.check({"hardware": "big", "cpu": "4"}, CATALOGUE, [], [running])
    with pytest.raises(UsageError, match="you may have 4 GPUs at a time"):
        options.check({"hardware": "gpu", "gpus": 2}, CATALOGUE, ["research"], [hardware(hardware="gpu", gpus=3)])
    with pytest.raises(UsageError, match="you may run 2 servers at a time; stop one first"):
        options.check({}, CATALOGUE, [], [hardware(), {}])


NODE = {"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "4", "memory": "16Gi", "pods": "110"}}}


def test_the_form_shows_what_is_free_and_remembers_escaped() -> None:
    ground = survey([NODE], [])
    last = {"hardware": "big", "cpu": "3", "environment": {"A": '"><script>'}}
    page = form.render(CATALOGUE, [], ground, last)
    assert 'value="big" checked' in page
    assert "Big &lt;b&gt;" in page
    assert "<script>" not in page
    assert 'name="big.cpu" value="3"' in page
    assert "Starts at once; 4 like it would." in page
    assert "gpu" not in page  # the profile of another group
    assert "<details open" in page.replace('class="kf-advanced" ', "")


def test_a_last_choice_that_is_gone_falls_back() -> None:
    assert 'value="small" checked' in form.render(CATALOGUE, [], survey([], []), {"hardware": "gone"})


def test_a_last_choice_that_is_deprecated_leads_to_what_replaces_it() -> None:
    catalogue = read("""
profiles:
  - {slug: small, cpu: 1, default: true}
  - {slug: new, cpu: {min: 1, max: 8, default: 2}}
  - {slug: old, cpu: {min: 1, max: 8, default: 2}, deprecated: {message: it ends in May, replacement: new}}
  - {slug: last, cpu: 1, deprecated: {message: nothing follows}}
""")
    page = form.render(catalogue, [], survey([], []), {"hardware": "old", "cpu": "7", "shared_memory": "1Gi"})
    assert "The hardware profile &#39;old&#39; is deprecated: it ends in May; take new instead." in page
    assert 'value="new" checked' in page
    assert 'value="old"' not in page
    assert 'name="new.cpu" value="" placeholder="2"' in page, "what was said of the old one is not said of this one"
    page = form.render(catalogue, [], survey([], []), {"hardware": "last"})
    assert 'value="last" checked' in page
    assert "nothing follows." in page
