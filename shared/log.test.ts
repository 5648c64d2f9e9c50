import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLogger } from './log.ts'

test('log: an authorization header and an API key are never written, wherever they are in what is logged', () => {
  let written = ''
  const logger = createLogger('test', 'trace', { write: (line) => (written += line) })
  logger.info({ authorization: 'Bearer secret' }, 'one')
  logger.info({ headers: { authorization: 'Bearer secret' }, apiKey: 'secret' }, 'two')
  logger.error(
    { request: { url: '/x', headers: { authorization: 'Bearer secret' } }, options: { apiKey: 'secret' } },
    'three',
  )
  assert.equal(written.trim().split('\n').length, 3)
  assert.ok(!written.includes('secret') && written.includes('/x') && written.includes('[hidden]'), written)
})
