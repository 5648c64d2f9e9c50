/**
 * Runs a prompt on a pool from any program: three requests with an API key, and the text as it comes.
 *
 *   export MESH_URL=http://127.0.0.1:8080        # the control plane; https://HOST:8080 from another machine
 *   export MESH_API_KEY=mesh_sk_...              # from: mesh api-key-create --name "an example"
 *   node examples/ask.mjs "Once upon a time" [model]
 *
 * Where the control plane has a certificate of its own, NODE_EXTRA_CA_CERTS names the file to trust
 * (mesh api-key-create says which). All routes: /docs of the control plane.
 */
import { randomInt, randomUUID } from 'node:crypto'

const { MESH_URL: url = 'http://127.0.0.1:8080', MESH_API_KEY: key } = process.env
const [prompt, wantedModel] = process.argv.slice(2)

/** @throws Error with the message of the control plane */
const send = async (path, init = {}) => {
  const answer = await fetch(url + path, { ...init, headers: { authorization: `Bearer ${key}`, ...init.headers } })
  if (answer.ok) return answer
  const { error } = await answer.json()
  throw new Error(`${error.message} (${error.code})`)
}

const getJson = async (path) => (await send(path)).json()

const postJson = async (path, body) => {
  const headers = { 'content-type': 'application/json' }
  return (await send(path, { method: 'POST', headers, body: JSON.stringify(body) })).json()
}

/** The objects of a stream of server-sent events: each is one line that begins with `data:`, ended by an empty line. */
async function* eventsOf(answer) {
  let rest = ''
  for await (const text of answer.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split('\n')
    rest = lines.pop()
    for (const line of lines) if (line.startsWith('data:')) yield JSON.parse(line.slice('data:'.length))
  }
}

const ask = async () => {
  if (key === undefined || prompt === undefined)
    throw new Error('usage: MESH_API_KEY=... node examples/ask.mjs PROMPT [MODEL]')
  const { poolId } = await getJson('/api/api-key')
  const rings = await getJson(`/api/pools/${poolId}/rings`)
  const modelId = wantedModel ?? rings.find(({ status }) => status === 'active')?.modelId
  if (modelId === undefined) throw new Error('no model is served in this pool now')

  // the same idempotency key gives the same job: a request that got no answer may be sent again
  const sampling = { temperature: 0.7, topP: 0.9, topK: 0, minP: 0, repetitionPenalty: 1, seed: randomInt(2 ** 31) }
  const submission = { modelId, prompt, maxTokens: 100, sampling, stop: [], idempotencyKey: randomUUID() }
  const { jobId } = await postJson(`/api/pools/${poolId}/jobs`, submission)
  for await (const event of eventsOf(await send(`/api/pools/${poolId}/jobs/${jobId}/events`))) {
    if (event.type === 'tokens') process.stdout.write(event.text)
    if (event.type === 'end' && event.job.state !== 'done') throw new Error(event.job.error?.message ?? event.job.state)
  }
  process.stdout.write('\n')
}

// whoever reads the text went away, as `head` does
process.stdout.on('error', () => {
  process.exitCode = 141
})

try {
  await ask()
} catch (error) {
  process.stderr.write(`error: ${error.message}\n`)
  process.exitCode = 1
}
