"""Parts of the page that need no browser: who may ask, which files may be read, strokes, the form and the queue."""

from __future__ import annotations

import os
import shlex
import shutil
import threading
import time
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

import editkit
from editkit import Cancelled, EditkitError, InvalidParameter
from editkit.cli import main

pytest.importorskip("nicegui", reason="the extra editkit[web] is not installed")

from editkit_web.batch import batch_work
from editkit_web.commands import Copies
from editkit_web.edits import Call, Entry, Source
from editkit_web.folder import ImageFolder, shown
from editkit_web.form import form_fields, read_values
from editkit_web.jobs import Job, QueueFull, Workers
from editkit_web.security import COOKIE, HEADER, Guard, choose_token, is_own
from editkit_web.store import Store
from editkit_web.strokes import Drawing, MaskView, read_stroke
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

TOKEN = "a-token-of-the-test"


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await PlainTextResponse(f"page {len(body)}")(scope, receive, send)


def client(host: str = "127.0.0.1", token: str | None = None, base: str = "http://127.0.0.1:7860") -> TestClient:
    return TestClient(Guard(page, host, token, 1000), base_url=base, follow_redirects=False)


def test_a_page_of_this_computer_needs_no_token_and_any_other_does() -> None:
    assert choose_token("127.0.0.1", None) is None and choose_token("::1", None) is None
    assert is_own("localhost") and not is_own("0.0.0.0") and not is_own("example.org")
    assert len(choose_token("0.0.0.0", None) or "") >= 24
    assert client().get("/").text == "page 0"


def test_a_wrong_token_is_refused_and_a_right_one_sets_a_cookie() -> None:
    browser = client("0.0.0.0", TOKEN)
    for path, headers in (
        ("/", {}),
        ("/?token=wrong", {}),
        ("/", {HEADER: "wrong"}),
        ("/", {"cookie": f"{COOKIE}-7860=x"}),
    ):
        assert browser.get(path, headers=headers).status_code == 403
    assert browser.post(f"/?token={TOKEN}").status_code == 403
    assert browser.get("/", headers={HEADER: TOKEN}).status_code == 200
    visit = browser.get(f"/?token={TOKEN}&tab=1")
    assert visit.status_code == 303 and visit.headers["location"] == "/?tab=1"
    assert "HttpOnly" in visit.headers["set-cookie"] and "SameSite=lax" in visit.headers["set-cookie"]
    assert browser.get("/").status_code == 200


@pytest.mark.parametrize("other", ['a={"x": 1}', "b=[1, 2]", "c=\xe4", "d=", "e"])
def test_cookies_of_other_programs_of_this_computer_do_not_hide_the_token(other: str) -> None:
    for cookies in (f"{other}; {COOKIE}-7860={TOKEN}", f"{COOKIE}-7860={TOKEN}; {other}"):
        headers = {"cookie": cookies.encode("latin-1")}
        assert client("0.0.0.0", TOKEN).get("/", headers=headers).status_code == 200


@pytest.mark.parametrize("host", ["evil.example:7860", "", "[", "127.0.0.1:x", "127.0.0.1.evil.example"])
def test_a_name_that_is_not_of_this_server_is_refused(host: str) -> None:
    assert client().get("/", headers={"host": host}).status_code == 403


def test_a_request_of_another_page_is_refused() -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:9999"):
        assert client().post("/", headers={"origin": origin}).status_code == 403
    assert client().post("/", headers={"origin": "http://127.0.0.1:7860"}).status_code == 200


def test_a_web_socket_of_another_page_or_without_the_token_is_closed() -> None:
    from starlette.websockets import WebSocketDisconnect

    for headers in ({"origin": "https://evil.example", HEADER: TOKEN}, {}):
        with pytest.raises(WebSocketDisconnect), client("0.0.0.0", TOKEN).websocket_connect("/", headers=headers):
            pass


def test_an_upload_over_the_limit_is_refused_with_and_without_its_length() -> None:
    assert client().post("/", content=b"x" * 1000).text == "page 1000"
    assert client().post("/", content=b"x" * 1001).status_code == 413
    assert client().post("/", content=iter([b"x" * 600, b"x" * 600])).text in ("page 0", "page 600")


def test_responses_forbid_the_browser_to_ask_other_hosts() -> None:
    policy = client().get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy and "http" not in policy


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "link.png", "sub/../../secret.png", "a\0b"])
def test_a_path_outside_the_folder_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.png").write_bytes(b"secret")
    (inside / "link.png").symlink_to(tmp_path / "secret.png")
    (inside / "own.png").write_bytes(b"own")
    folder = ImageFolder(inside)
    with pytest.raises(InvalidParameter, match="outside of the folder") as refused:
        folder.resolve(name)
    assert "\n" not in str(refused.value) and str(tmp_path) not in str(refused.value).replace(name, "")
    assert folder.images() == [inside / "own.png"]


def test_links_that_lead_nowhere_and_odd_names_do_not_end_the_page(tmp_path: Path) -> None:
    for name in (b"own.png", b"n\xe9.png"):
        Path(tmp_path, os.fsdecode(name)).write_bytes(b"own")
    (tmp_path / "gone.png").symlink_to(tmp_path / "missing.png")
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    folder = ImageFolder(tmp_path)
    assert [os.fsencode(path.name) for path in folder.images()] == [b"n\xe9.png", b"own.png"]
    assert folder.proposals() == ["own.png"] and shown(os.fsdecode(b"n\xe9.png")) == "n\ufffd.png"
    shutil.rmtree(tmp_path)
    assert folder.proposals() == []


def test_an_uploaded_file_keeps_the_end_of_a_long_name_and_no_message_has_its_folder() -> None:
    store = Store()
    path = store.keep("\N{RED APPLE}" * 90 + ".png", b"x")
    assert path.suffix == ".png" and len(os.fsencode(path.name)) <= 200
    assert store.without_folders(f"image {str(path)!r} is empty") == f"image {path.name!r} is empty"
    store.close()


def test_a_folder_of_results_that_is_a_file_is_refused(tmp_path: Path) -> None:
    image, folder = tmp_path / "in" / "a.png", ImageFolder(tmp_path)
    call = Call("img2img", None, None, Drawing(), {}, {})
    for outputs, reason in (("a.txt", "is a file"), ("in", "lie among the images")):
        (tmp_path / "a.txt").write_text("text")
        image.parent.mkdir(exist_ok=True)
        with pytest.raises(InvalidParameter, match=reason):
            batch_work(call, [image], outputs, folder, editkit.operations()["img2img"].params, None)


def stroke(size: float = 20, softness: float = 0.0, erase: bool = False) -> editkit.Stroke:
    return read_stroke({"points": [[30, 50], [70, 50]], "size": size, "softness": softness, "erase": erase})


def test_a_hard_stroke_marks_exactly_the_pixels_of_its_brush() -> None:
    levels = Drawing((stroke(),)).levels((100, 100))
    rows, columns = np.mgrid[:100, :100]
    distance = np.hypot(np.maximum(np.maximum(30 - columns, columns - 70), 0), rows - 50)
    assert set(np.unique(levels)) == {0, 255}
    assert (levels[distance <= 8.5] == 255).all() and (levels[distance >= 10.5] == 0).all()


def test_a_soft_stroke_fades_outwards_and_twice_is_as_once() -> None:
    once = Drawing((stroke(softness=1),)).levels((100, 100))
    assert np.array_equal(once, Drawing((stroke(softness=1),) * 2).levels((100, 100)))
    fade = once[50:61, 50].astype(int)
    assert fade[0] == 255 and fade[-1] == 0 and (np.diff(fade) < 0).all()


def test_erasing_and_inverting_undo_what_was_painted() -> None:
    painted = Drawing().with_stroke(stroke())
    assert not painted.with_stroke(stroke(erase=True)).levels((100, 100)).any()
    inverted = Drawing(painted.strokes, inverted=True)
    assert np.array_equal(inverted.levels((100, 100)), 255 - painted.levels((100, 100)))
    assert (inverted.with_stroke(stroke(40)).levels((100, 100)) == 255).all()


def test_strokes_beyond_the_edges_and_on_a_base_are_drawn() -> None:
    base = np.full((40, 60), 7, np.uint8)
    far = read_stroke({"points": [[-500, 20], [900, 20]], "size": 10, "softness": 0})
    levels = Drawing((far,), base).levels((60, 40))
    assert (levels[20] == 255).all() and (levels[0] == 7).all() and (base == 7).all()
    outside = read_stroke({"points": [[-500, -500]], "size": 10, "softness": 0})
    assert np.array_equal(Drawing((outside,), base).levels((60, 40)), base)


def test_the_view_of_a_mask_is_the_mask_scaled_down_stroke_by_stroke() -> None:
    view, size, base = MaskView(100), (400, 200), np.zeros((200, 400), np.uint8)
    base[:, 300:] = 255
    drawing = Drawing(base=base)
    for number in range(3):
        drawing = drawing.with_stroke(read_stroke({"points": [[40, 40 * number]], "size": 60, "softness": 0.5}))
        assert np.array_equal(view.levels(drawing, size), MaskView(100).levels(drawing, size))
    mean = drawing.levels(size).reshape(50, 4, 100, 4).mean((1, 3))
    assert np.abs(view.levels(drawing, size) - mean).max() < 60 and np.abs(view.levels(drawing, size) - mean).mean() < 3
    undone = Drawing(drawing.strokes[:1], base, inverted=True)
    assert np.array_equal(view.levels(undone, size), MaskView(100).levels(undone, size))


@pytest.mark.parametrize("event", [{}, {"points": []}, {"points": [[0, float("nan")]], "size": 3, "softness": 0}])
def test_a_stroke_of_other_values_is_refused(event: dict[str, object]) -> None:
    with pytest.raises(InvalidParameter):
        read_stroke(event)


def test_the_form_of_every_operation_has_all_its_parameters_but_those_of_files() -> None:
    for spec in editkit.operations().values():
        fields = {field.name: field for field in form_fields(spec.params)}
        hidden = {"mask", "segmenter", "controlnet"}
        assert set(spec.params.model_fields) - hidden == set(fields) - hidden
        assert all(field.help for field in fields.values())
        entries = {name: field.default for name, field in fields.items()}
        values, problems = read_values(spec, entries)
        assert values == {} and set(problems) <= {name for name, field in fields.items() if field.required}


def test_problems_of_a_form_are_shown_by_field() -> None:
    spec = editkit.operations()["img2img"]
    entries = {"strength": 3.0, "sampler": "ddimm", "steps": 2.5, "prompt": "an apple"}
    problems = read_values(spec, entries)[1]
    assert "less than or equal to 1" in problems["strength"] and "whole" in problems["steps"]
    assert "did you mean 'ddim'" in read_values(spec, {"sampler": "ddimm"})[1]["sampler"]
    assert "names a file" in read_values(spec, {"attach": ["style:image=/etc/passwd,model=x"]})[1]["attach"]
    assert "up to 9007199254740991" in read_values(spec, {"seed": 2**53})[1]["seed"]
    assert read_values(spec, {"steps": 4.0, "sampler": "ddim:eta=0.5"}) == ({"steps": 4, "sampler": "ddim:eta=0.5"}, {})


def close_after(workers: Workers, last: Job) -> None:
    deadline = time.monotonic() + 10
    while not last.is_over and time.monotonic() < deadline:
        time.sleep(0.005)
    workers.close()


def test_jobs_wait_their_turn_and_too_many_are_refused() -> None:
    workers, go, running = Workers(["cpu"], most_waiting=2), threading.Event(), threading.Event()
    ends: list[str] = []

    def work(job: Job, device: str | None) -> None:
        running.set()
        go.wait(10)
        job.follow(lambda: ends.append(job.title))

    jobs = [Job(work, title=str(number)) for number in range(3)]
    workers.submit(jobs[0])
    assert running.wait(10)
    workers.submit(jobs[1])
    workers.submit(jobs[2])
    assert [workers.place(job) for job in jobs] == [0, 1, 2]
    with pytest.raises(QueueFull, match="2 edits wait"):
        workers.submit(Job(work, title="one too many"))
    workers.stop(jobs[1])
    assert jobs[1].state == "stopped" and workers.place(jobs[2]) == 1
    workers.stop(jobs[0])
    go.set()
    close_after(workers, jobs[2])
    assert [job.state for job in jobs] == ["stopped", "stopped", "done"] and ends == ["2"]


def test_an_error_of_a_job_is_its_end_and_not_that_of_the_worker() -> None:
    workers = Workers([None], most_waiting=5)

    def fail(error: Exception) -> Job:
        def work(job: Job, device: str | None) -> None:
            raise error

        return Job(work, title="fail")

    jobs = [fail(EditkitError("no such thing")), fail(ZeroDivisionError("by zero")), fail(Cancelled("stopped"))]
    for job in jobs:
        workers.submit(job)
    close_after(workers, jobs[-1])
    assert [job.state for job in jobs] == ["failed", "failed", "stopped"]
    assert jobs[0].error == "no such thing" and "ZeroDivisionError" in jobs[1].error


def test_a_mask_file_of_the_page_is_read_beside_its_image(tmp_path: Path) -> None:
    down, across = np.mgrid[:60, :80].astype(np.uint8)
    original = np.dstack([down + 90, across + 60, down + across])
    painted = original.copy()
    painted[20:40, 30:50] = (255, 0, 0)
    for name, array in (("source.png", original), ("mask.png", painted)):
        Image.fromarray(array).save(tmp_path / name)
    source = Source.open(tmp_path / "source.png", Store())
    levels, notes = source.read_mask((tmp_path / "mask.png").read_bytes(), "mask.png")
    assert np.array_equal(levels == 255, (painted != original).any(-1)) and "a copy of the image" in notes[0]


@pytest.mark.parametrize("text", ["make it green", "-make it 'green'\nnow"])
def test_the_copied_command_of_every_operation_is_read_by_the_command_line(tmp_path: Path, text: str) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "-a b.png")
    folder, store = ImageFolder(tmp_path), Store()
    image = Source.open(tmp_path / "-a b.png", store)
    for name, spec in editkit.operations().items():
        if spec.takes not in ("image", "nothing") or spec.gives != "image":
            continue
        texts = {field.name: text for field in form_fields(spec.params) if field.required and field.kind == "text"}
        call = Call(name, None, image if spec.takes == "image" else None, Drawing(), {}, texts)
        copies = Copies(Entry(call, tmp_path / "out.png", "", "", "", {}), folder)
        program, own, *words = shlex.split(copies.command())
        command = main.get_command(click.Context(main), name)
        assert (program, own) == ("editkit", name) and command is not None
        read = command.make_context(name, words, parent=click.Context(main)).params
        assert read.get("image", (str(image.path),)) == (str(image.path),)
        assert all(read[one] in (text, (text,)) for one in texts)
    store.close()
