/**
 * How much may wait: of one API key, of one member, of a pool. Nobody's flood keeps others from asking: pure decisions.
 */
import { MeshError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { formatBytes } from '../../shared/words.ts'

export type QueueOwner = 'key' | 'member' | 'pool'

/** What waits. */
export interface Queued {
  readonly jobs: number
  /** Of their submissions, as they are stored. */
  readonly bytes: number
}

const most: Record<QueueOwner, Queued> = {
  key: { jobs: limits.queuedJobsOfKey, bytes: limits.queuedBytesOfKey },
  member: { jobs: limits.queuedJobsOfMember, bytes: limits.queuedBytesOfMember },
  pool: { jobs: limits.queuedJobs, bytes: limits.queuedBytes },
}
/** Seconds after which some of it may have had its turn. */
const soonSeconds = 5

/**
 * Whether one more may wait. The innermost limit is named: the one that its owner can do something about.
 * @param keyId of the API key that it comes by; empty: the device itself
 * @param wantedBytes of the submission; where nothing waits yet one of any size is taken
 * @throws MeshError `queueFull`
 */
export const checkQueue = (keyId: string, queued: Record<QueueOwner, Queued>, wantedBytes: number): void => {
  const names: Record<QueueOwner, string> = {
    key: `API key ${keyId}`,
    member: 'this device, with its API keys,',
    pool: 'this pool',
  }
  const owners: QueueOwner[] = [...(keyId === '' ? [] : (['key'] as const)), 'member']
  // others may have filled the pool: who has next to nothing in it still gets in
  if (queued.member.jobs >= limits.queuedJobsAlways) owners.push('pool')
  for (const owner of owners) {
    const { jobs, bytes } = queued[owner]
    const refuse = (limit: string): MeshError =>
      new MeshError('queueFull', { whose: names[owner], limit, retryAfterSeconds: soonSeconds })
    if (jobs >= most[owner].jobs) throw refuse(`${most[owner].jobs} jobs`)
    if (jobs > 0 && bytes + wantedBytes > most[owner].bytes)
      throw refuse(`${formatBytes(most[owner].bytes)} of prompts`)
  }
}
