"""A headless browser on the page of a server, for browser_test.py."""

import os
import time

WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
SLOW = 60_000  # milliseconds for an answer of a model


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


class Session:
    """A browser context with one page of the server, and what went wrong in it."""

    def __init__(self, browser, args, viewport=None, **more):
        self.url, self.shots, self.key = args.url.rstrip("/"), args.shots, args.key or "open sesame"
        self.faults, self.requested, self.held = [], [], []
        self.context = browser.new_context(viewport=viewport or WIDE, **more)
        self.page = self.context.new_page()
        self.page.on("console", lambda m: self.faults.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda e: self.faults.append(str(e)))
        self.page.on("request", lambda r: self.requested.append(r.url))
        if args.key:
            self.page.add_init_script(f"location.search || sessionStorage.setItem('cairn.key', {args.key!r})")
        self.page.goto(self.url + "/")
        self.until("document.querySelector('#chat-model').options.length +"
                   " document.querySelector('#p-model').options.length")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for route in self.held:
            route.abort()
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

    def hold(self, path):
        """Keeps calls of a path from being answered, until the session ends."""
        self.page.route("**" + path, lambda route: self.held.append(route))

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
