import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { basename } from 'node:path'
import { test } from 'node:test'
import { portHolder } from './port-holder.ts'

const isLinux = process.platform === 'linux'

test('port holder: the program that listens is named, over IPv4 and IPv6; nobody where nobody does', async () => {
  for (const host of ['127.0.0.1', '::1']) {
    const server = createServer().listen(0, host)
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    assert.equal(portHolder(port), isLinux ? `${basename(process.execPath)} (process ${process.pid})` : undefined)
    server.close()
    await once(server, 'close')
    assert.equal(portHolder(port), undefined)
  }
})

test('port holder: an open connection to that port holds nothing', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const program =
    `const s = require('node:net').connect(${(server.address() as AddressInfo).port}, '127.0.0.1', () ` +
    '=> console.log(s.localPort))'
  const child = spawn(process.execPath, ['--eval', program], { stdio: ['ignore', 'pipe', 'ignore'] })
  try {
    const [text] = (await once(child.stdout, 'data')) as [Buffer]
    assert.equal(portHolder(Number(text.toString())), undefined)
  } finally {
    child.kill('SIGKILL')
    server.close()
  }
})
