import { type PoolCharter, readCharter } from '../../shared/identity/pool-charter.ts'

/** What a pool was made to be. A charter that does not hold (the file was changed) lets nobody in. */
export const termsOf = (
  pool: { readonly charter: string | null; readonly rootPublicKey: string } | undefined,
): PoolCharter => {
  try {
    return readCharter(pool?.charter, Buffer.from(pool?.rootPublicKey ?? '', 'hex'))
  } catch {
    return { adminsReadText: false }
  }
}
