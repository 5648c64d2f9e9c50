import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { test } from 'node:test'
import { listenError } from './listen-error.ts'

const listenOn = (port: number, host: string): Promise<Error> =>
  new Promise((resolve, reject) => {
    const server = createServer()
      .once('error', resolve)
      .listen(port, host, () => {
        server.close()
        reject(new Error('it listens'))
      })
  })

test('listen error: a port in use is named by its number', async (t) => {
  for (const host of ['127.0.0.1', '::1']) {
    const server = createServer().listen(0, host)
    await new Promise((resolve) => server.once('listening', resolve))
    t.after(() => server.close())
    const address = server.address()
    const port = address !== null && typeof address === 'object' ? address.port : 0
    const cause = await listenOn(port, host)
    for (const error of [cause, new Error(`some addresses failed:\n\n  /ip4/x: ${cause.stack}\n    at more`)]) {
      const { code, fields, message, hint } = listenError(error, ['/x'])
      assert.deepEqual([code, String(fields.port)], ['portInUse', String(port)])
      assert.equal(message, `port ${port} is in use`)
      const holder =
        process.platform === 'linux'
          ? new RegExp(`what holds it: .* \\(process ${process.pid}\\)$`)
          : /the program that holds it$/
      assert.match(hint, holder)
    }
  }
})

test('listen error: an address of another machine is told in one line', async () => {
  const { code, message } = listenError(
    new Error(`first line\n  Error: ${(await listenOn(1, '192.0.2.1')).message}\n   at stack`),
    ['/ip4/192.0.2.1/tcp/1'],
  )
  assert.equal(code, 'usage')
  assert.equal(message, 'cannot listen on /ip4/192.0.2.1/tcp/1: address not available')
})

test('listen error: anything else keeps its first line', () => {
  assert.equal(listenError(new Error('odd\nstack'), ['/a', '/b']).message, 'cannot listen on /a, /b: odd')
})
