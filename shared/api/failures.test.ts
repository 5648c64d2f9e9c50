import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MeshError } from '../errors.ts'
import { headers } from '../headers.ts'
import { newKeyPair } from '../identity/keys.ts'
import { requests } from '../wire/protocols.ts'
import { errorOf, failureOf, refusalOf, unreachable } from './failures.ts'
import { pathOf } from './raw-call.ts'

const url = 'http://10.0.0.7:8080'
const key = newKeyPair()
const answerOf = (status: number, body: string, version?: string): Response =>
  new Response(body, { status, headers: version === undefined ? {} : { [headers.protocol]: version } })
const refusal = (code: string): string => JSON.stringify({ error: { code, message: 'no', fields: { problem: 'it' } } })
const tlsError = (code: string): Error =>
  new TypeError('fetch failed', { cause: Object.assign(new Error('tls'), { code }) })

describe('failures of requests', () => {
  it('where nobody answers, the machine to look at is named, unless it is this one', () => {
    assert.match(unreachable(url, 'refused').hint, /^mesh up must run on the machine at 10\.0\.0\.7, /)
    assert.match(unreachable('http://127.0.0.1:1', 'refused').hint, /^start it with mesh up/)
    assert.match(unreachable('nowhere', 'refused').hint, /^start it with mesh up/)
  })

  it('a failure of ours stays what it is, one of trust is told as such, all else is nobody', () => {
    const ours = new MeshError('controlPlaneChanged', { url, got: 'a', known: 'b' })
    assert.equal(failureOf(url, ours), ours)
    assert.equal(failureOf(url, new TypeError('fetch failed', { cause: new Error('socket', { cause: ours }) })), ours)
    for (const code of ['SELF_SIGNED_CERT_IN_CHAIN', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'ERR_TLS_CERT_ALTNAME_INVALID'])
      assert.equal(failureOf(url, tlsError(code)).code, 'controlPlaneUntrusted', code)
    for (const error of [tlsError('ECONNREFUSED'), new Error('x'), 'text'])
      assert.equal(failureOf(url, error).code, 'controlPlaneUnreachable')
  })

  it('an answer with a code and a message is that failure, any other is of something that is no control plane', async () => {
    const known = await errorOf(answerOf(403, refusal('inviteInvalid')), url)
    assert.deepEqual([known.code, known.fields], ['inviteInvalid', { problem: 'it' }])
    for (const body of [
      '<html>',
      '',
      '{}',
      'null',
      '{"error":{"code":"inviteInvalid"}}',
      '{"error":{"message":"no"}}',
      '{"error":{"code":1,"message":"no"}}',
    ])
      assert.equal((await errorOf(answerOf(502, body), url)).code, 'controlPlaneProtocol', body)
    const long = await errorOf(answerOf(502, 'x'.repeat(900)), url)
    assert.equal(long.fields.problem, `HTTP 502 from ${url}: ${'x'.repeat(200)}`)
  })

  it('a refusal of a signed request by another version is told as that, and no other', async () => {
    const codeOf = async (answer: Response, signer: typeof key | undefined): Promise<string> =>
      (await refusalOf(answer, url, signer)).code
    const refused = refusal('signatureInvalid')
    assert.equal(await codeOf(answerOf(401, refused, requests.version), key), 'signatureInvalid')
    assert.equal(await codeOf(answerOf(401, refused, '99'), key), 'protocolVersion')
    assert.equal(await codeOf(answerOf(401, refused, '99'), undefined), 'signatureInvalid', 'nobody signed')
    assert.equal(await codeOf(answerOf(401, refused), key), 'protocolVersion', 'before versions were in answers')
    assert.equal(await codeOf(answerOf(404, refusal('notFound')), key), 'notFound')
    const theirs = await refusalOf(answerOf(409, refusal('protocolVersion'), '99'), url, key)
    assert.deepEqual(theirs.fields, { problem: 'it' }, 'what the control plane says of it is kept')
  })

  it('holes of a path are filled and escaped, and what is not asked for is left out', () => {
    const route = { method: 'GET', path: '/api/pools/:poolId/jobs/:jobId' } as unknown as Parameters<typeof pathOf>[0]
    const params = { poolId: 'a/b', jobId: 7 }
    assert.equal(pathOf(route, { params }), '/api/pools/a%2Fb/jobs/7')
    assert.equal(pathOf(route, { params, query: { limit: undefined } }), '/api/pools/a%2Fb/jobs/7')
    assert.equal(
      pathOf(route, { params, query: { limit: 5, after: 'x y' } }),
      '/api/pools/a%2Fb/jobs/7?limit=5&after=x+y',
    )
  })
})
