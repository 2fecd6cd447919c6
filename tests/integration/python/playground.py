"""Drives the playground page of a running server in a real browser.

    python playground.py BASE_URL OUT_DIR

BASE_URL is where the gateway serves the page, such as http://127.0.0.1:8080; screenshots go to OUT_DIR. It needs the package
`playwright` and a Chromium: the one that CHROMIUM names, one on the path, or playwright's own. Where there is none it says so
and exits with 77, the code for a skipped test. What the model draws is not judged; that is the evaluation's work.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

SKIPPED = 77

try:
    from playwright.sync_api import Error, expect, sync_playwright
except ImportError:
    print("SKIPPED: the package playwright is not installed (pip install playwright)")
    sys.exit(SKIPPED)

# A drawing may take this long, in milliseconds: an unoptimized server on a busy machine is slow.
PATIENCE_MS = 300_000
# Cheap settings: what the page does is tested, not the picture.
CHEAP = {"iterations": "2", "head_steps": "2"}

NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]

# Names, references and texts of the page as it stands; returns what is wrong, one sentence each.
AUDIT = """
() => {
  const problems = [];
  const say = (node, what) => problems.push(`${what}: ${node.outerHTML.slice(0, 120)}`);
  const seen = (node) => node.checkVisibility({ visibilityProperty: true }) && !node.closest("[aria-hidden=true], [inert]");
  const words = (ids) => (ids ?? "").split(/\\s+/).filter(Boolean).map((id) => document.getElementById(id)?.textContent ?? "").join(" ");
  const named = (node) =>
    (node.getAttribute("aria-label") || words(node.getAttribute("aria-labelledby")) ||
      [...(node.labels ?? [])].map((label) => label.textContent).join(" ") ||
      (["BUTTON", "A", "SUMMARY"].includes(node.tagName) ? node.innerText : "")).trim();
  for (const node of document.querySelectorAll("button, a[href], input, select, textarea, dialog[open], [role=tab], progress")) {
    if (seen(node) && !named(node)) say(node, "has no name");
  }
  for (const image of document.querySelectorAll("img")) {
    if (!image.hasAttribute("alt")) say(image, "has no alternative text");
  }
  for (const list of document.querySelectorAll("ul, ol")) {
    for (const child of list.children) if (child.tagName !== "LI") say(child, "is no item of its list");
  }
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) problems.push(`two elements with the id ${id}`);
  for (const attribute of ["aria-labelledby", "aria-describedby", "aria-controls"]) {
    for (const node of document.querySelectorAll(`[${attribute}]`)) {
      for (const id of node.getAttribute(attribute).split(/\\s+/)) {
        if (!document.getElementById(id)) say(node, `${attribute} names #${id}, which is not there`);
      }
    }
  }
  for (const label of document.querySelectorAll("label[for]")) {
    if (!document.getElementById(label.htmlFor)) say(label, "labels nothing");
  }
  if (document.querySelectorAll("h1").length !== 1) problems.push("not one first heading");
  if (!document.documentElement.lang) problems.push("the page does not say its language");
  if (!document.querySelector("main") || !document.querySelector("[role=status]")) problems.push("no main part or no live region");
  // What lies beyond the edge may be hidden there, so every control is looked at and not the page's width alone.
  for (const node of [document.documentElement, document.body, ...document.querySelectorAll("button, textarea, .said, .composer-card, figure")]) {
    const { left, right } = node.getBoundingClientRect();
    if (seen(node) && !node.closest(".visually-hidden, .skip, .tabs, pre") && (left < -1 || right > innerWidth + 1)) say(node, "reaches beyond the window");
  }
  if (document.body.scrollWidth > innerWidth) problems.push(`wider than the window: ${document.body.scrollWidth}`);

  // Colours on their way to others are judged where they arrive.
  for (const moving of document.getAnimations()) if (moving instanceof CSSTransition) moving.finish();
  // Contrast of every text against what lies behind it, by the formula of WCAG 2: 4.5, or 3 for large text.
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const colour = (css) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = css;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const found = colour(getComputedStyle(at).backgroundColor);
      if (found[3] === 255) return found;
    }
    return [255, 255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !seen(node) || node.closest(".visually-hidden, .skip, noscript")) continue;
    const style = getComputedStyle(node);
    const [a, b] = [light(colour(style.color)), light(behind(node))].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const enough = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < enough) say(node, `contrast ${ratio.toFixed(2)} below ${enough}`);
  }
  return problems;
}
"""


def browser_of(playwright):
    """A started browser, or None where there is none."""
    named = os.environ.get("CHROMIUM")
    paths = [named] if named else [path for path in map(shutil.which, NAMES) if path] + [None]
    # Chromium refuses to sandbox what root starts, as in containers.
    args = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    for path in paths:
        try:
            return playwright.chromium.launch(executable_path=path, args=args)
        except Error as error:
            print(f"no browser at {path or 'playwright'}: {str(error).splitlines()[0]}")
    return None


class Playground:
    """The page in one window, with what it asked for and what went wrong in it."""

    def __init__(self, browser, base, out, **window):
        self.base, self.out = base, out
        self.context = browser.new_context(**window)
        self.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=base)
        self.page = self.context.new_page()
        self.page.set_default_timeout(30_000)
        self.requests, self.scripts, self.faults = [], {}, []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("response", self._keep)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._heard)
        self.policy = self.page.goto(base).headers.get("content-security-policy", "")
        expect(self.page.locator("#model")).to_be_visible()

    def _keep(self, response):
        if urlsplit(response.url).path.endswith(".js"):
            self.scripts[response.url] = response

    def _heard(self, message):
        # A refused request is logged by the browser itself; the tests provoke some.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.faults.append(message.text)

    def turn(self, number):
        return self.page.locator("#conversation > li").nth(number)

    @property
    def turns(self):
        return self.page.locator("#conversation > li").count()

    def wait(self, number, state):
        expect(self.turn(number)).to_have_attribute("data-state", state, timeout=PATIENCE_MS)

    def send(self, text, mode=None):
        """Types and sends; returns the turn's number."""
        if mode:
            self.page.get_by_role("radio", name=mode, exact=True).check()
        number = self.turns
        self.page.locator("#prompt").fill(text)
        self.page.locator("#prompt").press("Enter")
        expect(self.page.locator("#conversation > li")).to_have_count(number + 1)
        return number

    def options(self, **values):
        """Sets options by the ids of their fields."""
        if not self.page.locator("#options").is_visible():
            self.page.keyboard.press("Alt+o")
        for name, value in values.items():
            self.page.locator(f"#option-{name}").fill(value)
        self.page.keyboard.press("Alt+o")
        expect(self.page.locator("#options")).to_be_hidden()

    def bytes_of(self, number, index=0):
        """The bytes of a finished picture, by way of a canvas: its policy lets the page fetch no blob."""
        script = """image => {
          const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
          const context = canvas.getContext("2d");
          context.drawImage(image, 0, 0);
          return [canvas.width, canvas.height, ...context.getImageData(0, 0, canvas.width, canvas.height).data];
        }"""
        image = self.turn(number).locator("[data-state=done] .frame-image").nth(index)
        image.evaluate("image => image.decode()")
        return image.evaluate(script)

    def audit(self, where):
        problems = self.page.evaluate(AUDIT)
        assert not problems, f"{where}:\n  " + "\n  ".join(problems)

    def shot(self, name):
        self.page.screenshot(path=self.out / f"{name}.png")

    def close(self):
        foreign = [url for url in self.requests if not url.startswith((self.base, "data:", "blob:"))]
        assert not foreign, f"requests that left the origin: {foreign}"
        assert not self.faults, f"errors in the page: {self.faults}"
        self.context.close()


@contextmanager
def step(name):
    yield
    print(f"ok: {name}", flush=True)


def welcome(at):
    with step("the page says what it is, and allows only its own origin"):
        assert "default-src 'self'" in at.policy, f"policy {at.policy!r}"
        expect(at.page.locator("#welcome")).to_be_visible()
        assert at.page.locator(".example").count() >= 6
        at.audit("empty page")
        at.shot("empty")
    with step("nothing is put into the page as markup"):
        assert len(at.scripts) > 5
        for url, response in at.scripts.items():
            found = re.search(r"(inner|outer)HTML\s*[=:]|insertAdjacentHTML|document\.write|\beval\(", response.text())
            assert not found, f"{found.group()} in {url}"


def draw(at):
    with step("draw: progress, picture, seed"):
        at.options(**CHEAP, seed="7")
        number = at.send("a red circle above a blue square", "Draw")
        at.wait(number, "done")
        expect(at.turn(number).locator(".facts")).to_contain_text("seed 7")
        width, height, *pixels = at.bytes_of(number)
        assert len(pixels) == width * height * 4 and width >= 16
        expect(at.page.locator("#gallery-count")).to_have_text("1")
        at.audit("after a drawing")
        at.shot("drawn")
    with step("the same seed and words make the same picture"):
        at.turn(number).get_by_role("button", name="Use again").click()
        assert at.page.locator("#prompt").input_value() == "a red circle above a blue square"
        again = at.turns
        at.page.keyboard.press("Control+Enter")
        at.wait(again, "done")
        assert at.bytes_of(again) == at.bytes_of(number)
    with step("a seed that no JavaScript number holds comes back as it went"):
        at.options(seed="18446744073709551615")
        large = at.send("a green star")
        at.wait(large, "done")
        expect(at.turn(large).locator(".facts")).to_contain_text("seed 18446744073709551615")
        at.options(seed="")
    with step("several pictures in one request"):
        at.options(n="2")
        several = at.send("a pink cross")
        at.wait(several, "done")
        expect(at.turn(several).locator("[data-state=done]")).to_have_count(2)
        assert at.bytes_of(several, 0) != at.bytes_of(several, 1)
        at.options(n="")
    if can_run_curl():
        with step("the code of the second of two pictures makes the second"):
            at.turn(several).get_by_role("button", name="Details and code").nth(1).click()
            viewer = at.page.get_by_role("dialog")
            viewer.get_by_role("tab", name="curl", exact=True).click()
            made = run_curl(viewer.locator("code").text_content())
            assert made == downloaded(at, viewer.get_by_role("link", name="Download"))[1]
            viewer.get_by_role("tab", name="grpcurl", exact=True).click()
            assert "== 1" in viewer.locator("code").text_content()
            at.page.keyboard.press("Escape")
    return number


def can_run_curl():
    return all(map(shutil.which, ("bash", "curl", "jq", "base64")))


def run_curl(code):
    """What the code saves as `picture.png`."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["bash", "-euo", "pipefail", "-c", code], cwd=folder, check=True, timeout=PATIENCE_MS / 1000)
        return (Path(folder) / "picture.png").read_bytes()


def code(at, number):
    with step("details and code; what is copied is what is shown"):
        at.turn(number).get_by_role("button", name="Details and code").click()
        viewer = at.page.get_by_role("dialog")
        expect(viewer).to_contain_text("a red circle above a blue square")
        at.audit("details")
        at.shot("details")
        shown = {}
        for language in ("grpcurl", "Python", "curl"):
            viewer.get_by_role("tab", name=language, exact=True).click()
            shown[language] = viewer.locator("code").text_content()
            assert "a red circle above a blue square" in shown[language] and "7" in shown[language]
        viewer.get_by_role("button", name="Copy").click()
        expect(viewer.get_by_role("button", name="Copied")).to_be_visible()
        assert at.page.evaluate("navigator.clipboard.readText()") == shown["curl"]
        with at.page.expect_download() as download:
            viewer.get_by_role("link", name="Download").click()
        made = Path(download.value.path()).read_bytes()
        assert made.startswith(b"\x89PNG") and download.value.suggested_filename.endswith("-7.png")
        at.page.keyboard.press("Escape")
        expect(viewer).to_be_hidden()
    if can_run_curl():
        with step("the copied curl command makes the same file"):
            assert run_curl(shown["curl"]) == made
    else:
        print("not run: the copied curl command, without bash, curl, jq or base64")
    with step("the Python code makes the same file, with our package"):
        assert run_python(shown["Python"], {}) in (made, None)


def run_python(code, files):
    """The bytes of the picture that the page's Python code makes beside these files; None where our package is not here."""
    if importlib.util.find_spec("unipic") is None:
        print("not run: the Python code, without the package unipic")
        return None
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, timeout=PATIENCE_MS / 1000)
        return (Path(folder) / "picture.png").read_bytes()


def downloaded(at, link):
    """Name and bytes of what a link downloads."""
    with at.page.expect_download() as download:
        link.click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def edit(at, number):
    with step("edit a made picture, then its result"):
        at.turn(number).get_by_role("button", name="Edit this").click()
        expect(at.page.locator("#tray li")).to_have_count(1)
        at.options(**CHEAP)
        first = at.send("make the circle green")
        at.wait(first, "done")
        at.bytes_of(first)
        expect(at.page.locator("#tray")).to_contain_text("make the circle green")
        at.audit("after an edit")
    with step("edit a part of a made picture: painted by mouse and by keyboard"):
        redraw(at, number)
    with step("draw around a made picture"):
        extend(at, number)
    with step("edit a picture from a file and from the clipboard"):
        picture = at.out / "source.png"
        at.turn(number).locator(".frame-image").screenshot(path=picture)
        at.page.locator("#file").set_input_files(picture)
        expect(at.page.locator("#tray")).to_contain_text("source.png")
        second = at.send("remove the square")
        at.wait(second, "done")
        paste = """bytes => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "pasted.png", { type: "image/png" }));
          document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
        }"""
        at.page.evaluate(paste, list(picture.read_bytes()))
        expect(at.page.locator("#tray")).to_contain_text("pasted.png")


# Pixels of two pictures, as RGBA, that are not the same: how many in the left half, how many in the right.
CHANGED = """
([before, after, width]) => {
  const changed = [0, 0];
  for (let i = 0; i < before.length; i += 4) {
    if (before[i] !== after[i] || before[i + 1] !== after[i + 1] || before[i + 2] !== after[i + 2]) {
      changed[(i / 4) % width < width / 2 ? 0 : 1] += 1;
    }
  }
  return changed;
}
"""


def redraw(at, number):
    at.turn(number).get_by_role("button", name="Edit this").click()
    at.page.locator("#tray").get_by_role("button", name="Mark what to redraw").click()
    dialog = at.page.get_by_role("dialog")
    canvas = dialog.get_by_role("application", name="Part to redraw")
    expect(canvas).to_be_focused()
    at.audit("while a mask is painted")
    box, shown = canvas.bounding_box(), dialog.get_by_role("img").bounding_box()
    assert box == shown, f"the mask at {box} does not lie over the picture at {shown}"
    left = box["x"] + box["width"] * 0.2
    at.page.mouse.move(left, box["y"] + box["height"] * 0.2)
    at.page.mouse.down()
    at.page.mouse.move(left, box["y"] + box["height"] * 0.8, steps=5)
    at.page.mouse.up()
    # By keyboard: a dab to the left of the middle, and one that is taken back.
    canvas.press("]")
    for _ in range(8):
        canvas.press("ArrowLeft")
    canvas.press("Space")
    for _ in range(8):
        canvas.press("ArrowUp")
    canvas.press("Space")
    canvas.press("x")
    at.shot("mask")
    dialog.get_by_role("button", name="Use this").click()
    expect(dialog).to_be_hidden()
    expect(at.page.locator("#tray")).to_contain_text("a part")
    at.options(**CHEAP)
    part = at.send("make the circle green")
    at.wait(part, "done")
    width, _, *before = at.bytes_of(number)
    _, _, *after = at.bytes_of(part)
    left_half, right_half = at.page.evaluate(CHANGED, [before, after, width])
    assert left_half > 100 and right_half == 0, f"{left_half} pixels changed on the left, {right_half} on the right"
    at.turn(part).get_by_role("button", name="Details and code").click()
    viewer = at.page.get_by_role("dialog")
    expect(viewer.get_by_role("link", name="mask.png")).to_be_visible()
    for language in ("curl", "grpcurl", "Python"):
        viewer.get_by_role("tab", name=language, exact=True).click()
        expect(viewer.locator("code")).to_contain_text("mask")
    at.page.keyboard.press("Escape")
    # Used again, the picture comes back with its mask, which can be taken away.
    at.turn(part).get_by_role("button", name="Use again").click()
    at.page.locator("#tray").get_by_role("button", name="Change what to redraw").click()
    dialog.get_by_role("button", name="Clear").click()
    dialog.get_by_role("button", name="Use this").click()
    expect(at.page.locator("#tray")).not_to_contain_text("a part")


# Whether a picture lies in a larger one, so many pixels from its left side, with not a sample changed.
LIES_IN = """
([small, width, large, around, left]) => {
  for (let i = 0; i < small.length; i += 4) {
    const x = (i / 4) % width, y = Math.floor(i / 4 / width), at = (y * around + x + left) * 4;
    for (let c = 0; c < 3; c++) if (small[i + c] !== large[at + c]) return false;
  }
  return true;
}
"""


def small(at, number):
    """A picture of half the size: one as large as the model draws has no room for margins."""
    width, height, *_ = at.bytes_of(number)
    at.page.get_by_role("radio", name="Draw", exact=True).check()
    at.page.keyboard.press("Alt+o")
    at.page.locator("#option-size").select_option(f"{width // 2}x{height // 2}")
    at.page.keyboard.press("Alt+o")
    drawn = at.send("a red circle", "Draw")
    at.wait(drawn, "done")
    at.page.keyboard.press("Alt+o")
    at.page.locator("#option-size").select_option("")
    at.page.keyboard.press("Alt+o")
    return drawn


def extend(at, number):
    number = small(at, number)
    at.turn(number).get_by_role("button", name="Edit this").click()
    at.page.locator("#tray").get_by_role("button", name="Mark what to redraw").click()
    dialog = at.page.get_by_role("dialog")
    shown = dialog.get_by_role("img").bounding_box()
    dialog.get_by_label("Left").fill("32")
    smaller = dialog.get_by_role("img").bounding_box()
    canvas = dialog.get_by_role("application", name="Part to redraw").bounding_box()
    assert smaller == canvas and smaller["x"] > shown["x"], f"{shown} with a margin at its left is {smaller}, painted at {canvas}"
    at.audit("with a margin")
    at.shot("margins")
    dialog.get_by_role("button", name="Use this").click()
    expect(at.page.locator("#tray")).to_contain_text("around it: 32 px left")
    at.options(**CHEAP)
    wide = at.send("a red circle and a blue square")
    at.wait(wide, "done")
    width, height, *before = at.bytes_of(number)
    around, same_height, *after = at.bytes_of(wide)
    assert (around, same_height) == (width + 32, height), f"{around}x{same_height} from {width}x{height}"
    assert at.page.evaluate(LIES_IN, [before, width, after, around, 32]), "the picture within the margin has changed"
    at.turn(wide).get_by_role("button", name="Details and code").click()
    viewer = at.page.get_by_role("dialog")
    expect(viewer).to_contain_text("32 px left")
    code = {}
    for language, word in (("curl", "extend_left=32"), ("grpcurl", '"left": 32'), ("Python", 'extend={"left": 32}')):
        viewer.get_by_role("tab", name=language, exact=True).click()
        code[language] = viewer.locator("code").text_content()
        assert word in code[language], code[language]
    source = dict([downloaded(at, viewer.locator(".source-link a").first)])
    _, made = downloaded(at, viewer.get_by_role("link", name="Download"))
    assert run_python(code["Python"], source) in (made, None)
    at.page.keyboard.press("Escape")


def ask(at, number):
    with step("ask about a made picture"):
        at.turn(number).get_by_role("button", name="Ask about this").click()
        asked = at.send("What colour is the circle?")
        at.wait(asked, "done")
        expect(at.turn(asked).locator(".answer")).not_to_be_empty()
        at.turn(asked).get_by_role("button", name="Code").click()
        viewer = at.page.get_by_role("dialog")
        for language, word in (("curl", "image_url"), ("grpcurl", "UniPic/Understand"), ("Python", "client.ask(")):
            viewer.get_by_role("tab", name=language, exact=True).click()
            expect(viewer.locator("code")).to_contain_text(word)
        at.page.keyboard.press("Escape")
        at.audit("after an answer")
        at.shot("asked")


def errors(at):
    page = at.page
    with step("what is missing is said before anything is sent"):
        sent = len(at.requests)
        page.get_by_role("radio", name="Draw", exact=True).check()
        page.locator("#prompt").fill("")
        page.locator("#prompt").press("Enter")
        expect(page.locator("#prompt-error")).to_be_visible()
        problem = page.locator("#option-iterations-error")
        page.locator("#prompt").fill("a red circle")
        page.keyboard.press("Alt+o")
        page.locator("#option-iterations").fill("0")
        page.keyboard.press("Control+Enter")
        expect(problem).to_be_visible()
        assert len(at.requests) == sent, at.requests[sent:]
        at.audit("errors at fields")
        page.locator("#option-iterations").fill(CHEAP["iterations"])
        page.keyboard.press("Alt+o")
    with step("an error of the server is told in its words"):
        # Most browsers cannot show TIFF, so the page leaves the judgement of it to the server.
        bad = at.out / "bad.tiff"
        bad.write_bytes(b"no picture at all")
        page.get_by_role("radio", name="Edit", exact=True).check()
        page.locator("#file").set_input_files(bad)
        expect(page.locator("#tray")).to_contain_text("bad.tiff")
        failed = at.send("make the circle green")
        at.wait(failed, "failed")
        notice = at.turn(failed).locator(".notice")
        expect(notice).to_have_attribute("role", "alert")
        assert len(notice.inner_text()) > 40, notice.inner_text()
        at.audit("an error")
        at.shot("error")
    with step("a busy server is tried again when it says"):
        refusals = []

        def refuse(route):
            if refusals:
                return route.fallback()
            refusals.append(route.request.url)
            body = '{"error":{"message":"16 requests are waiting.","type":"rate_limit_error","param":null,"code":"queue_full"}}'
            route.fulfill(status=429, headers={"retry-after": "2"}, content_type="application/json", body=body)

        page.route("**/v1/images/generations", refuse)
        busy = at.send("a yellow triangle", "Draw")
        at.wait(busy, "waiting")
        expect(at.turn(busy)).to_contain_text("16 requests are waiting.")
        expect(at.turn(busy)).to_contain_text("Trying again in")
        at.wait(busy, "done")
        page.unroute("**/v1/images/generations")
    with step("a server that is gone is said to be gone, and the turn can be tried again"):
        page.route("**/v1/images/generations", lambda route: route.abort())
        gone = at.send("a blue diamond", "Draw")
        at.wait(gone, "failed")
        expect(at.turn(gone)).to_contain_text("cannot be reached")
        page.unroute("**/v1/images/generations")
        at.turn(gone).get_by_role("button", name="Try again").click()
        at.wait(gone, "done")


def cancel(at):
    with step("Esc stops, and the server is free again"):
        at.options(iterations="32", head_steps="200")
        stopped = at.send("a purple star", "Draw")
        at.wait(stopped, "running")
        expect(at.page.get_by_role("button", name="Stop").first).to_be_visible()
        at.page.keyboard.press("Escape")
        at.wait(stopped, "stopped")
        expect(at.turn(stopped)).to_contain_text("Stopped.")
        at.options(**CHEAP)
        after = at.send("a purple star")
        at.wait(after, "done")


def keyboard(at):
    page = at.page
    with step("keyboard alone: modes, options, gallery, dialogs"):
        for key, mode in (("Alt+2", "Edit"), ("Alt+3", "Ask"), ("Alt+1", "Draw")):
            page.keyboard.press(key)
            expect(page.get_by_role("radio", name=mode, exact=True)).to_be_checked()
        gallery = page.locator("#gallery")
        open_now = gallery.is_visible()
        page.keyboard.press("Alt+g")
        expect(gallery).to_be_visible(visible=not open_now)
        page.keyboard.press("Alt+g")
        expect(gallery).to_be_visible(visible=open_now)
        page.get_by_role("button", name="Keyboard shortcuts").press("Enter")
        expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
        at.audit("keyboard sheet")
        page.keyboard.press("Escape")
    with step("every stop of the Tab key can be seen"):
        page.evaluate("document.activeElement.blur()")
        seen = set()
        for _ in range(16):
            page.keyboard.press("Tab")
            outlined = """() => {
              const node = document.activeElement;
              const at = [node, node.closest("label, .composer-card")].filter(Boolean);
              return [node.id || node.ariaLabel || node.textContent, at.some((one) => getComputedStyle(one).outlineStyle !== "none")];
            }"""
            name, visible = page.evaluate(outlined)
            assert visible, f"no outline at {name}"
            seen.add(name)
        assert len(seen) > 8, seen


def kept(at):
    with step("the gallery outlives a reload, and colours can be switched"):
        before = at.page.locator("#gallery-count").text_content()
        at.page.reload()
        expect(at.page.locator("#gallery-count")).to_have_text(before)
        at.page.locator("#theme").click()
        at.page.locator("#theme").click()
        assert at.page.evaluate("document.documentElement.dataset.theme") == "dark"
        at.audit("dark page")
        at.page.reload()
        assert at.page.evaluate("document.documentElement.dataset.theme") == "dark"
        at.page.locator(".thumb").first.click()
        at.audit("dark details")
        at.shot("dark")


def phone(browser, base, out):
    with step("on a phone"):
        at = Playground(browser, base, out, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, color_scheme="dark", reduced_motion="reduce")
        at.audit("phone")
        at.page.locator("#show-options").tap()
        for name, value in CHEAP.items():
            at.page.locator(f"#option-{name}").fill(value)
        at.audit("phone with options")
        at.page.locator("#show-options").tap()
        at.page.locator(".example").first.tap()
        at.wait(0, "done")
        at.audit("phone with a picture")
        at.shot("phone")
        at.page.locator("#show-gallery").tap()
        expect(at.page.locator("#gallery")).to_be_visible()
        at.audit("phone with gallery")
        at.page.locator("#close-gallery").tap()
        at.close()


def main():
    base, out = sys.argv[1].rstrip("/"), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = browser_of(playwright)
        if browser is None:
            print("SKIPPED: no Chromium found; install one, or name it with CHROMIUM=/path")
            return SKIPPED
        at = Playground(browser, base, out, viewport={"width": 1280, "height": 860}, color_scheme="light")
        welcome(at)
        drawn = draw(at)
        code(at, drawn)
        edit(at, drawn)
        ask(at, drawn)
        errors(at)
        cancel(at)
        keyboard(at)
        kept(at)
        at.close()
        phone(browser, base, out)
        browser.close()
    print("all of the playground works")
    return 0


if __name__ == "__main__":
    sys.exit(main())
