/**
 * What a pool was made to be, signed once by its root key: nobody can claim later that it was made otherwise.
 *
 * Text form: base64url of a statement (`signed-statement.ts`) with domain `meshnet-pool-charter-v1`, whose body is
 * `[version, pool id, whether admins read the text of all jobs (0 or 1)]`. A pool without one is as pools always were:
 * prompts and answers are for who submitted them. An admin cannot sign one, since it is about what admins may do.
 */
import { MeshError } from '../errors.ts'
import { encodeCbor } from '../wire/envelope.ts'
import { limits } from '../limits.ts'
import { type KeyPair, toHex } from './keys.ts'
import { poolIdOf } from './pool-certificate.ts'
import { decodeArray, decodeStatement, encodeStatement, isSignedBy } from './signed-statement.ts'

export interface PoolCharter {
  /** Prompts and answers of all are for the admins too, not for their submitters alone. */
  readonly adminsReadText: boolean
}

const domain = 'meshnet-pool-charter-v1'
const version = 1

/** @returns its text form */
export const signCharter = (rootKey: KeyPair, { adminsReadText }: PoolCharter): string => {
  const body = encodeCbor([version, Buffer.from(poolIdOf(rootKey.publicKey), 'hex'), adminsReadText ? 1 : 0])
  return Buffer.from(encodeStatement(domain, body, rootKey)).toString('base64url')
}

const bad = (problem: string, cause?: unknown): MeshError => new MeshError('charterInvalid', { problem }, cause)

const read = (text: string, rootPublicKey: Uint8Array): PoolCharter => {
  if (text.length > 2 * limits.certificateBytes || !/^[A-Za-z0-9_-]+$/.test(text))
    throw bad('it is not base64url of one')
  const statement = decodeStatement(Buffer.from(text, 'base64url'))
  const isOfRoot = statement.admin === undefined && isSignedBy(rootPublicKey, domain, statement)
  if (!isOfRoot) throw bad('the root key of the pool did not sign it')
  const [found, pool, adminsRead] = decodeArray(statement.body, [3])
  if (found !== version) throw bad(`version ${String(found)} is unknown`)
  if (!(pool instanceof Uint8Array) || toHex(pool) !== poolIdOf(rootPublicKey)) throw bad('it belongs to another pool')
  if (adminsRead !== 0 && adminsRead !== 1) throw bad('its fields are wrong')
  return { adminsReadText: adminsRead === 1 }
}

/**
 * What a pool was made to be.
 * @param text anything that somebody may have sent; absent: the pool was made without
 * @param rootPublicKey 32 bytes, of the pool
 * @throws MeshError `charterInvalid`
 */
export const readCharter = (text: string | null | undefined, rootPublicKey: Uint8Array): PoolCharter => {
  if (text === undefined || text === null) return { adminsReadText: false }
  try {
    return read(text, rootPublicKey)
  } catch (error) {
    throw error instanceof MeshError && error.code === 'charterInvalid'
      ? error
      : bad('it is not a signed statement', error)
  }
}
