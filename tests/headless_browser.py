"""A headless Chromium, spoken to by chromedriver's own protocol: no library is needed."""

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
IS_THERE = bool(CHROMIUM and DRIVER)
ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"]
ARGUMENTS += ["--host-resolver-rules=MAP * ~NOTFOUND", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
NAMELESS = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Browser:
    """One session of a browser; no name of a host is resolved in it."""

    def __init__(self, width, height, *, dark=False):
        with contextlib.closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.address = f"http://127.0.0.1:{port}"
        options = {"args": [*ARGUMENTS, f"--window-size={width},{height}"], "binary": CHROMIUM}
        always = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        try:
            self.wait_for_driver()
            self.session = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": always}})["sessionId"]
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            self.command("Emulation.setDeviceMetricsOverride", size)
            scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
            self.command("Emulation.setEmulatedMedia", {"features": scheme})
        except BaseException:
            self.driver.terminate()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *error):
        with contextlib.suppress(OSError):
            self.own("DELETE", "")
        self.driver.terminate()
        self.driver.wait()

    def wait_for_driver(self):
        for _ in range(100):
            with contextlib.suppress(OSError):
                if self.ask("GET", "/status")["ready"]:
                    return
            time.sleep(0.1)
        raise TimeoutError("chromedriver does not answer")

    def ask(self, method, path, body=None):
        data = None if method != "POST" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with NAMELESS.open(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode()) from error

    def own(self, method, path, body=None):
        return self.ask(method, f"/session/{self.session}{path}", body)

    def command(self, name, parameters):
        return self.own("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def open(self, path):
        """Opens a report, and returns the seconds until all its figures were drawn."""
        begin = time.perf_counter()
        self.own("POST", "/url", {"url": path.resolve().as_uri()})
        while not self.run("return document.documentElement.dataset.drawn || ''"):
            if time.perf_counter() - begin > 60:
                raise TimeoutError(f"figures were not drawn: {self.complaints()}")
            time.sleep(0.05)
        return time.perf_counter() - begin

    def run(self, script, *arguments):
        return self.own("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def press(self, key):
        """Presses and releases a key of the keyboard."""
        actions = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self.own("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def complaints(self):
        """The errors and warnings of the console."""
        return [
            one for one in self.own("POST", "/se/log", {"type": "browser"}) if one["level"] in {"SEVERE", "WARNING"}
        ]

    def picture(self, path):
        """Writes the whole page as a PNG."""
        found = self.command("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
        path.write_bytes(base64.b64decode(found["data"]))

    def pdf(self, path):
        """Prints the page."""
        path.write_bytes(base64.b64decode(self.own("POST", "/print", {})))
