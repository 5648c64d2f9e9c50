/** One prompt that the control plane carries and cannot read: sealed for rank 0, again where that changed meanwhile. */
import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { type ErrorCode, MeshError } from '../../shared/errors.ts'
import type { Removals } from '../../shared/identity/pool-certificate.ts'
import type { Job } from '../../shared/schema/job.ts'
import type { RingView } from '../../shared/schema/ring.ts'
import { createAnswerOpener } from '../../shared/sealed/sealed-answer.ts'
import { sealJob } from '../../shared/sealed/sealed-job.ts'
import { verifySealingKey } from '../../shared/sealed/sealing-key.ts'
import { type AnswerReader, type JobRun, runJob } from './run-job.ts'
import { poll } from './session.ts'

/** What this machine knows of the pool by itself. */
export interface PoolTrust {
  /** 32 bytes. */
  readonly rootPublicKey: Uint8Array
  readonly removals: Removals
}

/** How often a prompt is sealed when rank 0 changes again and again. */
const attempts = 5
/** Milliseconds between two looks at a ring that is not ready. */
const lookMs = 300
/** Milliseconds in which a rank 0 that is there gives its key: its agent may have connected just now. */
const keyMs = 5000
/** Why a prompt that nobody began is sealed again: rank 0 is another one, or was started anew. */
const passing: readonly ErrorCode[] = ['sealStale', 'epochStale']

/** The ring once it takes sealed prompts. @throws MeshError `ringEmpty` | `sealingUnavailable` | `jobTimeout` */
const readyRing = async ({
  client,
  poolId,
  submission: { modelId },
  waitMs,
  context,
  onProgress,
}: JobRun): Promise<RingView & Required<Pick<RingView, 'sealing'>>> => {
  let why = ''
  let keylessSince: number | undefined
  const found = await poll(
    async () => {
      const rings = await client.call('listRings', { params: { poolId } })
      const ring = rings.find((one) => one.modelId === modelId)
      if (!ring) throw new MeshError('ringEmpty', { modelId })
      if (ring.sealing) return { ...ring, sealing: ring.sealing }
      keylessSince = ring.status === 'active' ? (keylessSince ?? context.now()) : undefined
      if (keylessSince !== undefined && context.now() - keylessSince >= keyMs)
        throw new MeshError('sealingUnavailable', {
          modelId,
          problem: `rank 0 (${ring.members[0]?.name ?? 'unknown'}) gives no key for it`,
        })
      if (ring.reason !== why)
        onProgress({ state: 'queued', worldSize: 0, tokens: 0, tokensPerSecond: 0, waiting: ring.reason })
      why = ring.reason
      return undefined
    },
    { waitMs, everyMs: lookMs, context },
  )
  if (!found) throw new MeshError('jobTimeout', { seconds: waitMs / 1000, why: why === '' ? '' : `: ${why}` })
  return found
}

/** @param secret of the prompt */
const sealedReader = (secret: Uint8Array): AnswerReader => {
  const opener = createAnswerOpener(secret)
  const tokens: number[] = []
  let text = ''
  let end: Parameters<AnswerReader['end']>[0]['finishReason']
  let told = 0
  return {
    text: (part) => {
      const pieces = opener.feed(part)
      for (const piece of pieces) {
        tokens.push(...piece.tokens)
        end = piece.end?.finishReason
        told = piece.end?.tokens ?? 0
      }
      const said = pieces.map((piece) => piece.text).join('')
      text += said
      return said
    },
    end: (job) => {
      const isWhole = opener.isComplete && told === tokens.length
      if (job.state === 'done' && !isWhole)
        throw new MeshError('sealBroken', { problem: 'the end of the answer is missing' })
      return { ...job, text, tokens, ...(end ? { finishReason: end } : {}) }
    },
  }
}

/**
 * Seals the prompt, runs the job and opens its answer.
 * @throws MeshError what `runJob` throws | `sealingUnavailable` | `sealingKeyInvalid` | `sealBroken`
 */
export const runSealedJob = async (run: JobRun, trust: PoolTrust): Promise<Job> => {
  const { poolId, submission, context } = run
  for (let attempt = 1; ; attempt++) {
    const { ringId, epoch, members, sealing } = await readyRing(run)
    const leader = members.find(({ rank }) => rank === 0)?.deviceId ?? ''
    const publicKey = verifySealingKey(sealing, { poolId, ringId, epoch, leader }, { ...trust, now: context.now() })
    let hasBegun = false
    // each time another job: the one before has failed under its key
    const idempotencyKey = randomBytes(16).toString('hex')
    const sealed = await sealJob({ ...submission, idempotencyKey }, { poolId, publicKey })
    try {
      return await runJob({
        ...run,
        submission: sealed.submission,
        reader: sealedReader(sealed.answerSecret),
        onText: (text) => {
          hasBegun = true
          run.onText(text)
        },
      })
    } catch (error) {
      if (attempt === attempts || hasBegun || !(error instanceof MeshError) || !passing.includes(error.code))
        throw error
      context.logger.debug('rank 0 changed: the prompt is sealed again')
      await pause(lookMs * attempt, undefined, { signal: context.signal })
    }
  }
}
