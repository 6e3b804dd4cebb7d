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
import traceback

from browser_session import PHONE, SLOW, WIDE, Session, expect
from playwright.sync_api import sync_playwright

CHECKS = []


def check(needs=None):
    """Registers a check; `needs` is the kind of model without which it makes no sense."""
    def add(function):
        CHECKS.append((function, needs))
        return function
    return add


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
        s.page.click("#settings-button")
        s.page.fill("#s-temperature", "0")
        s.say("Tell me a long story about a fox and a bird.")
        text = s.answered()
        expect(len(text.strip()) > 0, "there is an answer")
        expect(s.page.evaluate("window.seen.size") >= 2, "the answer grew as it came")
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
        s.hold("/v1/chat/completions")
        s.say("Tell me a very long story about the sea.")
        s.page.wait_for_selector("#stop:not([hidden])")
        s.page.keyboard.press("Escape")
        s.page.wait_for_selector("#send:not([hidden])")
        expect("stopped" in s.page.inner_text(".message.assistant:last-child .stats"), "Esc ends the answer")


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
              window.most = Math.max(window.most,
                                     document.querySelectorAll(".card .cell:is(.computed, .cached)").length);
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
        width = s.page.evaluate("document.querySelector('.card img').naturalWidth")
        expect(width == int(s.page.input_value("#p-width")),
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
        expect(s.page.input_value("#p-prompt") == "owl", "the prompt returns")
        expect(s.page.input_value("#p-steps") == "8", "with the settings")
        expect(s.page.input_value("#p-seed") != "", "and the seed of the picture")
        s.hold("/v1/images/generations")
        s.page.click("#make")
        s.page.wait_for_selector("#make-stop:not([hidden])")
        s.page.keyboard.press("Escape")
        s.made(4)
        expect("Stopped" in s.page.inner_text(".card:first-child"), "Esc ends the making")


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


@check()
def what_models_write_is_shown_and_never_run(open_page):
    with open_page() as s:
        shown = s.page.evaluate("""async () => {
          const { markdown } = await import("/page/markdown.js");
          const show = (text) => {
            const box = document.createElement("div");
            box.append(...markdown(text));
            return box;
          };
          const hostile = "<img src=x onerror=alert(1)> [a](javascript:alert(1)) [b](https://example.org/) `<b>`";
          const box = show(hostile);
          const list = show("1. one\\n2. two\\n   - in two\\n\\n**bold** and *it*, a_b_c\\n\\n" +
                            "```py\\nx = 1\\n```");
          const began = performance.now();
          show("*_`[".repeat(4000));
          show("> ".repeat(2000) + "deep");
          show("- a\\n".repeat(2000));
          return {tags: [...box.querySelectorAll("*")].map((e) => e.tagName.toLowerCase()).join(" "),
                  text: box.textContent, links: [...box.querySelectorAll("a")].map((a) => a.href).join(" "),
                  nested: list.querySelector("ol > li:nth-child(2) > ul > li")?.textContent,
                  strong: list.querySelector("strong")?.textContent, em: list.querySelector("em")?.textContent,
                  whole: list.textContent, code: list.querySelector("pre code")?.textContent,
                  seconds: (performance.now() - began) / 1000};
        }""")
        expect(shown["tags"] == "p a code", f"only these elements: {shown['tags']}")
        expect("<img src=x onerror=alert(1)>" in shown["text"], "markup is shown as text")
        expect(shown["links"] == "https://example.org/", f"only links to sites are links: {shown['links']}")
        expect(shown["nested"] == "in two" and shown["strong"] == "bold" and shown["em"] == "it", str(shown))
        expect("a_b_c" in shown["whole"] and shown["code"] == "x = 1", str(shown))
        expect(shown["seconds"] < 5, f"hostile text takes {shown['seconds']:.1f} s")


@check()
def events_survive_any_cut_of_the_stream(open_page):
    with open_page() as s:
        result = s.page.evaluate("""async () => {
          const { events } = await import("/page/api.js");
          const bytes = new TextEncoder().encode(
            'event: a\\r\\ndata: {"x":"é"}\\r\\n\\r\\n: a comment\\ndata:{"y":\\ndata: 2}\\n\\ndata: [DONE]\\n\\n');
          const seen = new Set();
          const read = async (pieces, wantsDone) => {
            const stream = new ReadableStream({start(c) { pieces.forEach((p) => c.enqueue(p)); c.close(); }});
            const out = [];
            for await (const event of events(new Response(stream), wantsDone)) out.push(event);
            return JSON.stringify(out);
          };
          for (let at = 1; at < bytes.length; ++at) seen.add(await read([bytes.slice(0, at), bytes.slice(at)]));
          const cut = bytes.slice(0, bytes.length - 14);
          const fault = await read([cut]).catch((error) => error.message);
          const failed = await read([new TextEncoder().encode('data: {"error":{"message":"no"}}\\n\\n')])
            .catch((error) => error.message);
          return {seen: [...seen], fault, lenient: await read([cut], false), failed};
        }""")
        whole = '[{"event":"a","data":{"x":"é"}},{"event":"","data":{"y":2}}]'
        expect(result["seen"] == [whole], f"the same events wherever it is cut: {result['seen']}")
        expect("before it was complete" in result["fault"], f"half a stream is an error: {result['fault']}")
        expect(result["lenient"] == whole, "except where none is wanted")
        expect(result["failed"] == "no", f"an error among the events is thrown: {result['failed']}")


@check()
def a_key_is_asked_for_once_and_sent(open_page):
    with open_page() as s:
        sent = []

        def guarded(route):
            sent.append(route.request.headers.get("authorization"))
            if sent[-1] == f"Bearer {s.key}":
                route.continue_()
            else:
                route.fulfill(status=401, json={"error": {"message": "a key, please"}})

        s.page.route("**/v1/models", guarded)
        s.page.evaluate("sessionStorage.clear()")
        s.page.goto(s.url + "/?again")
        s.page.wait_for_selector("#key-dialog[open]")
        expect("a key, please" in s.page.inner_text("#key-dialog"), "the dialog says why")
        s.page.keyboard.press("Escape")
        s.page.wait_for_timeout(4000)
        expect(not s.page.is_visible("#key-dialog"), "who declines is left in peace")
        s.page.click("#key-button")
        s.page.fill("#key-field", s.key)
        s.page.keyboard.press("Enter")
        s.until("document.querySelector('#offline').hidden")
        expect(sent[-1] == f"Bearer {s.key}", f"the key is sent: {sent}")


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
