import { Type } from 'typebox'
import type { Client } from '../../../shared/api/client.ts'
import { fromHex, type KeyPair } from '../../../shared/identity/keys.ts'
import { poolIdOf } from '../../../shared/identity/pool-certificate.ts'
import { removalsOf } from '../../../shared/identity/revocation-list.ts'
import { parseDigits } from '../../../shared/ids.ts'
import { Count, ModelId } from '../../../shared/schema/common.ts'
import { FinishReason, type Job, Timings, Usage } from '../../../shared/schema/job.ts'
import { MeshError } from '../../../shared/errors.ts'
import { flowingText, oneLine } from '../../../shared/text.ts'
import { poolByDigits, selectPool } from '../../device/pools.ts'
import { Revocations } from '../../device/revocations.ts'
import { type CommandContext, defineCommand } from '../command.ts'
import { createLiveText } from '../live-text.ts'
import { secretIn } from '../passphrase.ts'
import { readPrompt } from '../prompt.ts'
import { bold, counted } from '../render.ts'
import { type JobProgress, jobOptions, type JobRun, runJob, submissionOf } from '../run-job.ts'
import { type PoolTrust, runSealedJob } from '../run-sealed-job.ts'
import { type ControlPlaneValues, openKeyClient, openSession } from '../session.ts'

/** The answer of `--json`. Times in milliseconds. */
export const JobAnswer = Type.Object({
  text: Type.String(),
  tokens: Type.Array(Count),
  finishReason: Type.Optional(FinishReason),
  usage: Type.Optional(Usage),
  timings: Type.Optional(Timings),
  jobId: Type.String(),
  model: ModelId,
  workers: Count,
  seed: Count,
})

export const jobAnswer = (job: Job): Type.Static<typeof JobAnswer> => ({
  ...job,
  model: job.submission.modelId,
  workers: job.worldSize,
  seed: job.submission.sampling.seed,
})

export const progressText = ({ state, worldSize, tokens, tokensPerSecond, waiting }: JobProgress): string => {
  if (waiting !== undefined) return `waiting: ${oneLine(waiting)}`
  if (state !== 'running')
    return state === 'queued' ? 'waiting for the ring ...' : `${counted(worldSize, 'worker')} · reading the prompt ...`
  return [
    counted(worldSize, 'worker'),
    counted(tokens, 'token'),
    ...(tokensPerSecond > 0 ? [`${tokensPerSecond.toFixed(1)} tok/s`] : []),
  ].join(' · ')
}

/** Characters of a prompt that a terminal shows again. */
const echoLength = 2000

/**
 * The prompt (of a long one the end) as a terminal shows it before the text that continues it; elsewhere only the text
 * counts.
 */
const echoOf = (context: CommandContext, prompt: string): string => {
  if (!context.stdout.isTTY) return ''
  const characters = [...prompt]
  const shown = characters.length <= echoLength ? prompt : `… ${characters.slice(-echoLength).join('')}`
  return bold(context, flowingText(shown))
}

interface Sender {
  readonly client: Client
  readonly poolId: string
  /** Absent for an app. */
  readonly key?: KeyPair
}

interface SenderValues extends ControlPlaneValues {
  readonly apiKey?: string
  readonly apiKeyFile?: string
  readonly poolId?: string
}

/** @throws MeshError `usage` (two keys) | those of `readGivenFile` */
const keyOf = ({ isGiven }: CommandContext, { apiKey, apiKeyFile }: SenderValues): string | undefined => {
  if (isGiven('apiKey') && isGiven('apiKeyFile'))
    throw new MeshError('usage', { problem: '--api-key and --api-key-file are both given: name one key' })
  // a flag goes before the environment, whichever of the two it is
  return apiKeyFile === undefined || isGiven('apiKey') ? apiKey : secretIn(apiKeyFile, '--api-key-file')
}

/** This device, or an app with an API key, which tells the pool as well. */
const openSender = async (context: CommandContext, values: SenderValues): Promise<Sender> => {
  const { poolId } = values
  const apiKey = keyOf(context, values)
  if (apiKey === undefined) {
    const { client, device } = openSession(context, values)
    return { client, key: device.key, poolId: selectPool(context.home, poolId).poolId }
  }
  const digits = poolId === undefined ? '' : parseDigits(poolId, poolByDigits)
  const client = openKeyClient(context, { ...values, apiKey })
  const key = await client.call('getKey', {})
  if (!key.poolId.startsWith(digits)) throw new MeshError('keyOtherPool', { keyId: key.keyId })
  return { client, poolId: key.poolId }
}

/**
 * What this machine knows of the pool to check keys with: a device by its home, an app by the root key it is given.
 * @throws MeshError `usage` | `poolKeyMismatch` | of the client
 */
const trustOf = async (
  context: CommandContext,
  { client, poolId, key }: Sender,
  rootPublicKey: string | undefined,
): Promise<PoolTrust> => {
  if (key === undefined) {
    if (rootPublicKey === undefined)
      throw new MeshError('usage', {
        problem:
          '--sealed with an API key wants --pool-root-pubkey too, from mesh pool-list of a member: ' +
          'it is what the sealing key is checked with',
      })
    const bytes = fromHex(rootPublicKey, 32, '--pool-root-pubkey')
    if (poolIdOf(bytes) !== poolId) throw new MeshError('poolKeyMismatch', { poolId })
    return { rootPublicKey: bytes, removals: removalsOf(undefined) }
  }
  const held = new Revocations(context.home, context.now)
  const { list } = await client.call('getRevocations', { params: { poolId } })
  if (list !== undefined) held.accept(poolId, list)
  return {
    rootPublicKey: fromHex(selectPool(context.home, poolId).rootPublicKey, 32, 'the root key'),
    removals: removalsOf(held.listOf(poolId)),
  }
}

export const inference = defineCommand({
  name: 'inference',
  summary: 'run a prompt on the ring of a model and print the text as it comes',
  details: [
    'The prompt is the argument, or --prompt, a file (--prompt-file) or standard input: that of a pipe, ' +
      'or with - in place of the text. Files and standard input must be text in UTF-8; ' +
      'one line end at their end is left out, all else is taken as it is.',
    'Text goes to stdout, in a terminal behind the prompt that it continues; ' +
      'a status line to stderr when it is a terminal. Ctrl-C cancels the job. ' +
      '--wait limits how long the job may wait for a ring. With an API key (MESH_API_KEY or --api-key-file) ' +
      'a machine that is no device of the pool may ask.',
    'With --sealed the control plane carries prompt, stop strings and answer without seeing them. ' +
      'The key they are sealed with is checked here: rank 0 signed it, ' +
      'and is a member of the pool by its root key; an app is told that with --pool-root-pubkey. ' +
      'Every device of the ring still gets the tokens.',
  ].join('\n\n'),
  options: [
    ...jobOptions,
    'promptFile',
    'sealed',
    'poolRootPubkey',
    'apiKey',
    'apiKeyFile',
    'poolId',
    'controlPlane',
    'controlPlaneKey',
    'wait',
    'json',
  ],
  bare: 'prompt',
  examples: [
    'mesh inference "Once upon a time"',
    'mesh inference --prompt-file story.txt --max-tokens 400',
    'mesh inference --chat --prompt "What colour is the sky?" --temperature 0',
    'mesh inference --prompt "Once upon a time" --seed 7 --max-tokens 50 --stop "The end" --json',
    'mesh inference --sealed "Once upon a time"',
    'mesh inference --prompt "Once upon a time" --api-key-file key.txt --control-plane https://192.168.1.20:8080 ' +
      '--control-plane-key 3f...c1',
  ],
  json: JobAnswer,
  run: async (context, values) => {
    const prompt = await readPrompt(context, values)
    const submission = submissionOf({ ...values, prompt })
    const sender = await openSender(context, values)
    const live = createLiveText(context.stdout, context.stderr, context.now)
    const trust = values.sealed ? await trustOf(context, sender, values.poolRootPubkey) : undefined
    const ask = (run: JobRun): Promise<Job> => (trust ? runSealedJob(run, trust) : runJob(run))
    let last: JobProgress | undefined
    let echo = values.chat ? '' : echoOf(context, prompt)
    try {
      const job = await ask({
        context,
        ...sender,
        submission,
        waitMs: values.wait,
        onText: (text) => {
          if (values.json) return
          if (echo !== '') live.text(echo)
          echo = ''
          live.text(context.stdout.isTTY ? flowingText(text) : text)
        },
        onProgress: (progress) => {
          const isNews = progress.waiting !== undefined && progress.waiting !== last?.waiting
          last = progress
          live.status(progressText(progress))
          // whoever sees no status line must not sit before nothing
          if (isNews && !context.stderr.isTTY) context.stderr.write(`${progressText(progress)}\n`)
        },
      })
      live.end()
      if (values.json) context.printJson(jobAnswer(job))
      else if (context.stderr.isTTY && last !== undefined)
        context.stderr.write(
          `${progressText({
            ...last,
            tokens: job.tokens.length,
            tokensPerSecond: job.timings?.decodeTokensPerSecond ?? 0,
          })}\n`,
        )
    } catch (error) {
      live.end()
      throw MeshError.from(error)
    }
  },
})
