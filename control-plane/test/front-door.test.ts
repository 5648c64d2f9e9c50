/** What somebody meets who tries an address that is no route. */
import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { test } from 'node:test'
import { Value } from 'typebox/value'
import { ErrorAnswer } from '../../shared/schema/common.ts'
import { startPlane } from './plane.ts'

interface OpenAiAnswer {
  readonly error: { readonly message: string; readonly type: string; readonly param: null; readonly code: string }
}

test('front door: / leads a person to commands and routes, and a program to the same', async (t) => {
  const { url } = await startPlane(t)
  const page = await fetch(url, { headers: { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' } })
  assert.deepEqual([page.status, page.headers.get('content-type')], [200, 'text/html; charset=utf-8'])
  const text = await page.text()
  const links = [...text.matchAll(/href="([^"]+)"/g)].map(([, link]) => link)
  assert.deepEqual(links, ['/docs', '/docs/json', '/ready'])
  assert.match(text, /mesh inference/)
  const answer = (await (await fetch(url)).json()) as Record<string, string>
  assert.equal(answer.name, 'Mesh control plane')
  for (const link of [...links, answer.docs, answer.openapi, answer.health, answer.ready])
    assert.equal((await fetch(url + link)).status, 200, link)
})

test('front door: the addresses of the OpenAI API answer in its form, and say what there is', async (t) => {
  const { url } = await startPlane(t)
  for (const [method, path] of [
    ['GET', '/v1/models'],
    ['POST', '/v1/chat/completions'],
    ['POST', '/v1/completions'],
    ['GET', '/v1'],
    ['GET', '/v1/models/tiny?x=1'],
  ] as const) {
    const answer = await fetch(url + path, {
      method,
      headers: { authorization: 'Bearer sk-x', 'content-type': 'application/json' },
      ...(method === 'POST' ? { body: '{"model":"tiny"}' } : {}),
    })
    const { error } = (await answer.json()) as OpenAiAnswer
    assert.deepEqual(
      [answer.status, error.type, error.param, error.code],
      [404, 'invalid_request_error', null, 'unknown_url'],
    )
    assert.ok(error.message.includes(`${method} ${path.split('?')[0]}`))
    for (const lead of ['/api/api-key', '/jobs', '/docs', 'mesh api-key-create'])
      assert.ok(error.message.includes(lead), lead)
  }
})

test('front door: any other address says so, and where the routes are', async (t) => {
  const { url } = await startPlane(t)
  for (const path of ['/nothing', '/api', '/v12/models']) {
    const answer = await fetch(url + path)
    const { error } = (await answer.json()) as { error: { code: string; message: string; hint: string } }
    assert.deepEqual(
      [answer.status, error.code, error.message, error.hint],
      [404, 'notFound', `there is no route GET ${path}`, 'GET /docs shows every route'],
    )
  }
})

/** Says that over a connection of its own. @returns status and body of the answer */
const say = async (url: string, text: string): Promise<{ readonly status: number; readonly body: unknown }> => {
  const { hostname, port } = new URL(url)
  const socket = connect({ host: hostname, port: Number(port) })
  socket.setTimeout(10_000, () => socket.destroy(new Error('no answer')))
  socket.end(text)
  const parts: Buffer[] = []
  for await (const part of socket) parts.push(part as Buffer)
  const [head, body] = Buffer.concat(parts).toString().split('\r\n\r\n')
  return { status: Number(head.split(' ')[1]), body: JSON.parse(body) as unknown }
}

test('front door: what is refused before a route is asked is told in the form of all errors', async (t) => {
  const { url } = await startPlane(t)
  const requests: readonly (readonly [string, number])[] = [
    ['GET /api/pools/%/peers HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n', 400],
    ['GET /health HTTP/1.1\r\nhost: x\r\nexpect: a-miracle\r\n\r\n', 417],
    ['GARBAGE\r\n\r\n', 400],
    // what is quoted of a request is cut: an answer has a form, and no more of it than fits
    [`GET /api/pools/${'a'.repeat(6000)} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`, 414],
    [`GET /health HTTP/1.1\r\nhost: x\r\nlong: ${'x'.repeat(40_000)}\r\n\r\n`, 431],
  ]
  for (const [text, wanted] of requests) {
    const { status, body } = await say(url, text)
    assert.equal(status, wanted, text.slice(0, 60))
    assert.ok(Value.Check(ErrorAnswer, body), JSON.stringify(body))
    assert.equal(body.error.code, 'requestInvalid')
  }
})
