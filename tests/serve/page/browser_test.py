#!/usr/bin/env python3
"""Uses the page of a running `cairn serve` as a person would, with headless Chromium.

Usage: browser_test.py --url http://127.0.0.1:30000 [--shots FOLDER] [--chromium PATH] [--key KEY]

Needs `pip install playwright` (the package alone, no browser of its own) and a Chromium, such as Debian's package
`chromium`. The server should have a language model and a picture model; checks of one that it has not are left out.
Prints a line a check; exit status 1 when one failed.
"""

import argparse
import os
import shutil
import sys
import time
import traceback

from playwright.sync_api import sync_playwright

WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
SLOW = 60_000  # milliseconds for an answer of a model

CHECKS = []


def check(needs=None):
    """Registers a check; `needs` is the kind of model without which it makes no sense."""
    def add(function):
        CHECKS.append((function, needs))
        return function
    return add


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


class Session:
    """A browser context with one page of the server, and what went wrong in it."""

    def __init__(self, browser, args, viewport=None, **more):
        self.url, self.shots, self.faults, self.requested = args.url.rstrip("/"), args.shots, [], []
        self.context = browser.new_context(viewport=viewport or WIDE, **more)
        self.page = self.context.new_page()
        self.page.on("console", lambda m: self.faults.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda e: self.faults.append(str(e)))
        self.page.on("request", lambda r: self.requested.append(r.url))
        if args.key:
            self.page.add_init_script(f"sessionStorage.setItem('cairn.key', {args.key!r})")
        self.page.goto(self.url + "/")
        self.until("document.querySelector('#chat-model').options.length +"
                   " document.querySelector('#p-model').options.length")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def shot(self, name):
        if self.shots:
            self.page.wait_for_timeout(250)
            self.page.screenshot(path=os.path.join(self.shots, name + ".png"))

    def until(self, condition):
        """Waits for a JavaScript expression; Playwright's own way evaluates in the page, which its policy forbids."""
        end = time.monotonic() + SLOW / 1000
        while not self.page.evaluate(condition):
            expect(time.monotonic() < end, f"in time: {condition}")
            self.page.wait_for_timeout(20)

    def made(self, count):
        """Waits until so many pictures are done, or have failed."""
        self.until(f"document.querySelectorAll('.card:not(.making)').length === {count}")

    def to(self, tab):
        self.page.click(f"#tab-{tab}")

    def say(self, text, key="Enter"):
        self.page.fill("#say", text)
        self.page.press("#say", key)

    def answered(self):
        """Waits for the end of the answer and returns its text."""
        self.page.wait_for_selector(".message.assistant .actions", timeout=SLOW)
        return self.page.inner_text(".message.assistant:last-child .body")

    def focused(self):
        return self.page.evaluate("document.activeElement.id")


@check()
def loads_without_errors_and_from_nowhere_else(open_page):
    with open_page() as s:
        s.page.wait_for_timeout(2500)  # two looks at the metrics
        expect(s.page.title() == "Cairn", "the title is Cairn")
        expect(not s.faults, f"the console is silent: {s.faults}")
        foreign = [u for u in s.requested if not u.startswith((s.url, "data:", "blob:"))]
        expect(not foreign, f"nothing is loaded from elsewhere: {foreign}")
        expect(s.page.inner_text("#strip").startswith("live"), "the strip shows live metrics")


@check("language")
def an_answer_streams(open_page):
    with open_page() as s:
        s.to("chat")
        s.page.evaluate("""() => {
          window.seen = new Set();
          new MutationObserver(() => {
            const body = document.querySelector(".message.assistant .body");
            if (body && body.textContent) window.seen.add(body.textContent.length);
          }).observe(document.querySelector("#messages"), {childList: true, subtree: true, characterData: true});
        }""")
        s.say("Tell me a short story about a lighthouse.")
        text = s.answered()
        expect(len(text.strip()) > 0, "there is an answer")
        expect(s.page.evaluate("window.seen.size") >= 3, "the answer grew as it came")
        stats = s.page.inner_text(".message.assistant .stats")
        expect("tokens/s" in stats and "first token" in stats, f"speed and first token are shown: {stats!r}")
        expect(not s.faults, f"the console is silent: {s.faults}")
        s.page.reload()
        s.page.wait_for_selector(".message.assistant")
        expect(s.page.inner_text(".message.assistant .body") == text, "the conversation survives a reload")


@check("language")
def keys_send_break_lines_edit_and_stop(open_page):
    with open_page() as s:
        s.to("chat")
        s.page.focus("#say")
        s.page.keyboard.type("What is")
        s.page.keyboard.press("Shift+Enter")
        s.page.keyboard.type("2 + 2?")
        expect(s.page.input_value("#say") == "What is\n2 + 2?", "Shift+Enter breaks the line")
        s.page.keyboard.press("Control+Enter")
        s.answered()
        expect(s.page.locator(".message.user").count() == 1, "Ctrl+Enter sends")
        s.page.focus("#say")
        s.page.keyboard.press("ArrowUp")
        s.page.wait_for_selector(".editing textarea")
        s.page.fill(".editing textarea", "What is 3 + 4?")
        s.page.keyboard.press("Enter")
        s.answered()
        expect(s.page.inner_text(".message.user .bubble") == "What is 3 + 4?", "the edited message replaces the old")
        s.page.fill("#say", "Tell me a very long story about the sea.")
        s.page.keyboard.press("Enter")
        s.page.keyboard.press("Escape")
        s.page.wait_for_selector("#send:not([hidden])", timeout=SLOW)
        expect(s.page.locator(".message.assistant").count() == 2, "Esc ends the answer")


@check("language")
def curl_repeats_the_request(open_page):
    with open_page() as s:
        s.to("chat")
        s.page.click("#settings-button")
        s.page.fill("#s-temperature", "0")
        s.page.fill("#s-max-tokens", "12")
        s.page.fill("#s-system", "Don't be long.")
        s.say("What is the capital of France?")
        s.answered()
        s.page.click(".message.assistant [aria-label='The same with curl']")
        curl = s.page.inner_text("#curl-text")
        for part in (s.url + "/v1/chat/completions", '"temperature":0', '"max_tokens":12', "Don'\\''t be long."):
            expect(part in curl, f"the command has {part}: {curl}")
        s.page.keyboard.press("Escape")
        s.page.wait_for_selector("#curl-dialog", state="hidden")


@check()
def tab_and_arrows_reach_everything(open_page):
    with open_page() as s:
        s.page.focus("#tab-chat")
        reached = []
        for _ in range(40):
            s.page.keyboard.press("Tab")
            reached.append(s.focused())
            outline = s.page.evaluate("(e => e === document.body || e.matches('#log, #say') ||"
                                      " getComputedStyle(e).outlineStyle !== 'none')(document.activeElement)")
            expect(outline, f"the focus is seen on #{reached[-1]}")
        for wanted in ("help-button", "theme-button", "say", "settings-button"):
            expect(wanted in reached or s.page.locator(f"#{wanted}").is_hidden(), f"Tab reaches #{wanted}: {reached}")
        if s.page.locator("#tab-picture").is_enabled():
            s.page.focus("#tab-chat")
            s.page.keyboard.press("ArrowRight")
            expect(s.focused() == "tab-picture" and s.page.is_visible("#picture"), "an arrow changes the tab")
        s.page.keyboard.press("?")
        expect(s.page.is_visible("#help-dialog"), "? shows the keys")
        s.page.keyboard.press("Escape")
        expect(not s.page.is_visible("#help-dialog"), "Esc closes them")


@check("image")
def a_picture_is_made_step_by_step(open_page):
    with open_page() as s:
        s.to("picture")
        s.page.evaluate("""() => {
          window.most = 0;
          new MutationObserver(() => {
            if (document.querySelector(".card.making"))
              window.most = Math.max(window.most, document.querySelectorAll(".card .cell:is(.computed, .cached)").length);
          }).observe(document.querySelector("#gallery"), {subtree: true, attributes: true, childList: true});
        }""")
        s.page.fill("#p-prompt", "rocket")
        s.page.fill("#p-steps", "12")
        s.page.fill("#p-seed", "7")
        s.page.press("#p-prompt", "Control+Enter")
        s.made(1)
        expect(s.page.locator(".card .error").count() == 0, s.page.inner_text(".card"))
        expect(s.page.evaluate("window.most") >= 6, "cells appear while the picture is made")
        expect(s.page.locator(".card .cell:is(.computed, .cached)").count() == 12, "there is a cell a step")
        expect(s.page.evaluate("document.querySelector('.card img').naturalWidth") == int(s.page.input_value("#p-width")),
               "the picture has the width that was asked for")
        expect("seed 7" in s.page.inner_text(".card .facts"), s.page.inner_text(".card .facts"))
        with s.page.expect_download() as download:
            s.page.click(".card [aria-label='Download']")
        expect(download.value.suggested_filename.startswith("rocket-7."), download.value.suggested_filename)
        s.page.click(".card .frame")
        expect(s.page.is_visible("#viewer"), "a click enlarges it")
        s.shot("viewer")
        s.page.keyboard.press("Escape")
        s.page.click(".card [aria-label='The same with curl']")
        curl = s.page.inner_text("#curl-text")
        expect('"seed":7' in curl and "/v1/images/generations" in curl, curl)
        s.page.keyboard.press("Escape")
        expect(not s.faults, f"the console is silent: {s.faults}")


@check("image")
def several_pictures_and_their_settings_again(open_page):
    with open_page() as s:
        s.to("picture")
        s.page.fill("#p-prompt", "owl")
        s.page.fill("#p-n", "3")
        s.page.fill("#p-steps", "8")
        s.page.click("#make")
        s.made(3)
        expect(s.page.locator(".card .error").count() == 0, s.page.inner_text("#gallery"))
        s.page.fill("#p-prompt", "something else")
        s.page.click(".card:last-child [aria-label='Use these settings again']")
        expect(s.page.input_value("#p-prompt") == "owl" and s.page.input_value("#p-steps") == "8", "the settings return")
        expect(s.page.input_value("#p-seed") != "", "with the seed of the picture")


@check("image")
def a_wrong_request_says_what_is_wrong(open_page):
    with open_page() as s:
        s.to("picture")
        s.page.fill("#p-prompt", "owl")
        s.page.select_option("#p-cache", "custom…")
        s.page.fill("#p-options", "{not JSON")
        s.page.click("#make")
        expect(s.page.locator(".card").count() == 0, "nothing is sent that is no JSON")
        s.page.fill("#p-options", '{"no_such_option": 1}')
        s.page.click("#make")
        s.made(1)
        expect("no_such_option" in s.page.inner_text(".card .error"), "the server's message names the option")


@check()
def light_dark_wide_and_narrow(open_page):
    for scheme in ("light", "dark"):
        for width, viewport in (("desktop", WIDE), ("phone", PHONE)):
            with open_page(viewport, color_scheme=scheme, has_touch=width == "phone") as s:
                ground = s.page.evaluate("getComputedStyle(document.body).backgroundColor")
                light = int(ground.split("(")[1].split(",")[0]) > 128
                expect(light == (scheme == "light"), f"the ground follows the system: {scheme}, {ground}")
                for tab in ("chat", "picture"):
                    if not s.page.locator(f"#tab-{tab}").is_enabled():
                        continue
                    s.to(tab)
                    if tab == "chat":
                        s.say("What is 27 + 58?")
                        s.answered()
                    else:
                        s.page.fill("#p-prompt", "rocket")
                        s.page.fill("#p-n", "2")
                        s.page.click("#make")
                        s.made(2)
                    over = s.page.evaluate("document.documentElement.scrollWidth - innerWidth")
                    expect(over <= 0, f"nothing sticks out sideways: {tab}, {width}, {over} px")
                    s.page.wait_for_timeout(400)
                    s.shot(f"{tab}-{width}-{scheme}")
                s.page.click("#theme-button")  # auto, light, dark
                if scheme == "light":
                    s.page.click("#theme-button")
                chosen = s.page.evaluate("getComputedStyle(document.body).backgroundColor")
                expect(chosen != ground, "the button changes the theme")
                s.page.reload()
                expect(s.page.evaluate("getComputedStyle(document.body).backgroundColor") == chosen,
                       "the choice survives a reload")


def kinds_of_models(browser, args):
    """Which of "language" and "image" the server has."""
    with Session(browser, args) as s:
        return {kind for kind, field in (("language", "chat-model"), ("image", "p-model"))
                if s.page.evaluate(f"document.querySelector('#{field}').options.length")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--shots", help="folder for screenshots")
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    parser.add_argument("--key", default="", help="the server's API key")
    parser.add_argument("--only", default="", help="checks whose name contains this")
    args = parser.parse_args()
    if args.shots:
        os.makedirs(args.shots, exist_ok=True)
    failed = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=args.chromium, args=["--no-sandbox"])
        kinds = kinds_of_models(browser, args)
        for function, needs in CHECKS:
            if args.only not in function.__name__:
                continue
            name = function.__name__.replace("_", " ")
            if needs and needs not in kinds:
                print(f"left out  {name}: the server has no {needs} model", flush=True)
                continue
            try:
                function(lambda viewport=None, **more: Session(browser, args, viewport, **more))
                print(f"ok        {name}", flush=True)
            except Exception as error:  # any fault of a check is that check's failure
                failed += 1
                print(f"FAILED    {name}: {error}", flush=True)
                traceback.print_exc(limit=-2)
        browser.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
