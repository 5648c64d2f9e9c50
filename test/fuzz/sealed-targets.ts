/** What is sealed between who asks and rank 0, as a control plane that passes it on may change it. */
import fc from 'fast-check'
import { deviceIdOf } from '../../shared/identity/device-key.ts'
import { keyPairFromSeed } from '../../shared/identity/keys.ts'
import { issueCertificate, poolIdOf } from '../../shared/identity/pool-certificate.ts'
import type { JobSubmission } from '../../shared/schema/job.ts'
import { createAnswerOpener, createAnswerSealer } from '../../shared/sealed/sealed-answer.ts'
import { newSealingPair, openJob, sealJob } from '../../shared/sealed/sealed-job.ts'
import { signSealingKey, verifySealingKey } from '../../shared/sealed/sealing-key.ts'
import { damage, damagedBytes, damagedText } from './edits.ts'
import { outcomeOf } from './refusal.ts'
import { anyTarget, type Target } from './run-cases.ts'

const [root, leader] = [7, 8].map((seed) => keyPairFromSeed(new Uint8Array(32).fill(seed)))
const poolId = poolIdOf(root.publicKey)
const now = Date.UTC(2026, 0, 2)
const certificate = issueCertificate(root, { deviceId: deviceIdOf(leader), role: 'member' }, now)
const epoch = { poolId, ringId: 'ring_1', epoch: 1 }

const plain: JobSubmission = {
  modelId: 'tiny',
  prompt: 'Once upon a time',
  maxTokens: 5,
  stop: ['x'],
  idempotencyKey: 'key-of-a-job',
  sampling: { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 1 },
}

export const openSealedTargets = async (): Promise<readonly Target[]> => {
  const pair = await newSealingPair()
  const { submission } = await sealJob(plain, { poolId, publicKey: pair.publicKey })
  const secret = new Uint8Array(32).fill(9)
  const sealedText = (texts: readonly string[]): string => {
    const sealer = createAnswerSealer(secret)
    return texts.map((text) => sealer.piece({ text, tokens: [1] } as never)).join('')
  }
  const key = signSealingKey(leader, epoch, pair.publicKey)
  const digits = fc.constant(key)
  const changed = damagedBytes(digits.map((text) => Buffer.from(text, 'base64url'))).map((bytes) =>
    bytes.toString('base64url'),
  )
  return [
    anyTarget({
      name: 'sealed prompts',
      cases: fc.oneof(
        fc.constant(submission),
        damage(fc.constant(submission.sealed)).map((sealed) => ({ ...submission, sealed })),
      ),
      run: (value) => outcomeOf(() => openJob(pair, poolId, value as JobSubmission)),
    }),
    anyTarget({
      name: 'sealed answers',
      cases: damagedText(fc.array(fc.string({ maxLength: 80 }), { minLength: 1, maxLength: 3 }).map(sealedText)),
      run: (text) => outcomeOf(() => createAnswerOpener(secret).feed(text)),
    }),
    anyTarget({
      name: 'keys to seal for',
      cases: fc.oneof(digits, changed, damagedText(digits)),
      run: (text) =>
        outcomeOf(() =>
          verifySealingKey(
            { key: text, certificate },
            { ...epoch, leader: deviceIdOf(leader) },
            { rootPublicKey: root.publicKey, now, removals: { has: () => false } },
          ),
        ),
    }),
  ]
}
