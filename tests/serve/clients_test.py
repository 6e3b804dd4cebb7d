#!/usr/bin/env python3
"""OpenAI's Python client and a JSON-Schema validator against a running `cairn serve`.

Usage: clients_test.py CAIRN, with the packages openai and jsonschema at hand. Ends as googletest does.
"""

import base64
import json
import os
import random
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor

import jsonschema
import openai

MODEL = "cairn-tiny-lm"
PICTURES = "cairn-emoji"
KEY = "a key"


class Server:
    def __init__(self, program):
        self.folder = tempfile.TemporaryDirectory()
        port_file = os.path.join(self.folder.name, "port")
        self.process = subprocess.Popen([program, "serve", "--port", "0", "--port-file", port_file, "--api-key", KEY,
                                         "--access-log", "none"], stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()  # said once it listens
        with open(port_file) as f:
            self.port = int(f.read())

    def client(self, key=KEY):
        return openai.OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key=key, max_retries=0, timeout=120)

    def stop(self):
        self.process.terminate()
        status = self.process.wait(60)
        self.process.stdout.close()
        self.folder.cleanup()
        return status


def ask(text):
    return [{"role": "user", "content": text}]


class Client(unittest.TestCase):
    server = None

    def setUp(self):
        self.client = self.server.client()

    def test_models_are_listed(self):
        self.assertIn(MODEL, [m.id for m in self.client.models.list()])
        self.assertEqual(self.client.models.retrieve(MODEL).id, MODEL)

    def test_chat_answers(self):
        answer = self.client.chat.completions.create(model=MODEL, messages=ask("Calculate 20 + 22"), temperature=0)
        self.assertIn("= 42", answer.choices[0].message.content)
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)

    def test_chat_streams(self):
        whole = self.client.chat.completions.create(model=MODEL, messages=ask("Calculate 20 + 22"), temperature=0)
        text, finish, usage = "", None, None
        for chunk in self.client.chat.completions.create(model=MODEL, messages=ask("Calculate 20 + 22"), temperature=0,
                                                         stream=True, stream_options={"include_usage": True}):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                text += choice.delta.content or ""
                finish = choice.finish_reason or finish
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(finish, "stop")
        self.assertEqual(usage.completion_tokens, whole.usage.completion_tokens)

    def test_logprobs(self):
        answer = self.client.chat.completions.create(model=MODEL, messages=ask("Calculate 1 + 1"), temperature=0,
                                                     logprobs=True, top_logprobs=3)
        content = answer.choices[0].logprobs.content
        self.assertEqual("".join(t.token for t in content), answer.choices[0].message.content)
        self.assertTrue(all(len(t.top_logprobs) == 3 and t.logprob <= 0 for t in content))

    def test_completions_with_several_prompts_and_answers(self):
        answer = self.client.completions.create(model=MODEL, prompt=["One", "Two"], n=2, max_tokens=4, seed=1,
                                                logprobs=1, echo=False)
        self.assertEqual([c.index for c in answer.choices], [0, 1, 2, 3])
        self.assertEqual(len(answer.choices[0].logprobs.tokens), 4)

    def test_tools(self):
        tools = [{"type": "function", "function": {"name": "get_time", "description": "The time in a city", "parameters": {
            "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]
        answer = self.client.chat.completions.create(model=MODEL, messages=ask("What time is it in Santiago?"), tools=tools,
                                                     temperature=0)
        call = answer.choices[0].message.tool_calls[0]
        self.assertEqual(answer.choices[0].finish_reason, "tool_calls")
        self.assertEqual((call.function.name, json.loads(call.function.arguments)), ("get_time", {"city": "Santiago"}))
        pieces = ""
        for chunk in self.client.chat.completions.create(model=MODEL, messages=ask("What time is it in Santiago?"),
                                                         tools=tools, temperature=0, stream=True):
            for piece in chunk.choices[0].delta.tool_calls or []:
                pieces += piece.function.arguments or ""
        self.assertEqual(json.loads(pieces), {"city": "Santiago"})
        forced = self.client.chat.completions.create(
            model=MODEL, messages=ask("Hello"), tools=tools, temperature=1, max_tokens=200, seed=3,
            tool_choice={"type": "function", "function": {"name": "get_time"}})
        self.assertEqual(forced.choices[0].message.tool_calls[0].function.name, "get_time")

    def test_embeddings(self):
        answer = self.client.embeddings.create(model=MODEL, input=["a fox", "a bird", "a fox"])
        a, b, c = (d.embedding for d in answer.data)
        self.assertEqual(a, c)
        self.assertNotEqual(a, b)
        self.assertAlmostEqual(sum(x * x for x in a), 1, places=4)

    def test_pictures(self):
        made = self.client.images.generate(model=PICTURES, prompt="rocket", n=2, response_format="b64_json",
                                           extra_body={"seed": 3, "num_inference_steps": 8, "cache": "fast"})
        files = [base64.b64decode(d.b64_json) for d in made.data]
        self.assertTrue(all(f.startswith(b"\x89PNG") for f in files) and files[0] != files[1])
        edited = self.client.images.edit(model=PICTURES, image=("a.png", files[0]), prompt="owl",
                                         extra_body={"strength": 0.8, "num_inference_steps": 8})
        self.assertTrue(base64.b64decode(edited.data[0].b64_json).startswith(b"\x89PNG"))
        kinds = [e.type for e in self.client.images.generate(model=PICTURES, prompt="rocket", stream=True, partial_images=1,
                                                             extra_body={"seed": 3, "num_inference_steps": 8})]
        self.assertEqual(kinds.count("image_generation.progress"), 8)
        self.assertEqual(kinds.count("image_generation.partial_image"), 1)
        self.assertEqual(kinds[-1], "image_generation.completed")

    def test_errors_have_their_classes(self):
        with self.assertRaises(openai.NotFoundError) as caught:
            self.client.chat.completions.create(model="nobody", messages=ask("x"))
        self.assertIn(MODEL, str(caught.exception))
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.chat.completions.create(model=MODEL, messages=ask("x"), temperature=-1)
        self.assertEqual(caught.exception.param, "temperature")
        with self.assertRaises(openai.AuthenticationError):
            self.server.client("another key").models.list()

    def test_json_schema_answers_validate(self):
        """500 random schemas, at temperature 1: what ended by itself is valid, and what was cut off was long."""
        rng = random.Random(4)
        schemas = {}
        while len(schemas) < 500:
            schema = random_schema(rng, 3)
            schemas[json.dumps(schema)] = schema
        schemas = list(schemas.values())

        def one(k):
            answer = self.client.chat.completions.create(
                model=MODEL, messages=ask("Give me some JSON."), temperature=1, seed=k, max_tokens=1500,
                response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schemas[k]}})
            return answer.choices[0].message.content, answer.choices[0].finish_reason

        with ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(one, range(500)))
        whole = 0
        for schema, (text, finish) in zip(schemas, answers):
            if finish == "length":
                continue
            whole += 1
            jsonschema.Draft202012Validator(schema).validate(json.loads(text))
        self.assertGreaterEqual(whole, 495)


def random_schema(rng, depth):
    kind = rng.choice(["object", "object", "array", "string", "integer", "number", "enum", "anyOf", "boolean"]
                      if depth else ["string", "integer", "number", "enum"])
    if kind == "object":
        names = [f"{rng.choice(['name', 'id', 'kind', 'size', 'when', 'é'])}{i}" for i in range(rng.randint(1, 4))]
        return {"type": "object", "properties": {n: random_schema(rng, depth - 1) for n in names},
                "required": sorted(rng.sample(names, rng.randint(0, len(names)))), "additionalProperties": False}
    if kind == "array":
        least = rng.randint(0, 2)
        return {"type": "array", "items": random_schema(rng, depth - 1), "minItems": least,
                "maxItems": least + rng.randint(0, 3)}
    if kind == "string":
        if rng.random() < 0.4:
            return {"type": "string", "pattern": rng.choice(["^[a-z]{2,5}$", "^\\d{3}-\\d{2}$", "^(yes|no|maybe)$",
                                                             "^[A-F0-9]+$"]), "maxLength": 40}
        least = rng.randint(0, 5)
        return {"type": "string", "minLength": least, "maxLength": least + rng.randint(0, 20)}
    if kind == "integer":
        least = rng.randint(-1000, 1000)
        return {"type": "integer", "minimum": least, "maximum": least + rng.randint(0, 5000)}
    if kind == "number":
        return {"type": "number", "minimum": -rng.randint(1, 1000), "maximum": rng.randint(1, 1000)}
    if kind == "enum":
        return {"enum": [rng.choice([f"v{rng.randint(0, 999)}", rng.randint(0, 9999), True, None]) for _ in range(4)]}
    if kind == "anyOf":
        return {"anyOf": [random_schema(rng, depth - 1) for _ in range(rng.randint(2, 3))]}
    return {"type": "boolean", "description": f"{rng.randint(0, 10**9)}"}


def main():
    Client.server = Server(sys.argv[1])
    try:
        result = unittest.TextTestRunner(verbosity=2, stream=sys.stdout).run(
            unittest.defaultTestLoader.loadTestsFromTestCase(Client))
    finally:
        status = Client.server.stop()
    failed = len(result.failures) + len(result.errors) + (status != 0)
    print(f"[  PASSED  ] {result.testsRun + 1 - failed} tests.")
    if failed:
        print(f"[  FAILED  ] {failed} tests, listed below:")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
