/**
 * Invites that this device made, one file each. Only the agent of this device accepts them, one request at a time, and
 * writes the use down before it signs: an invite cannot be used more often than it says, whenever the process ends.
 */
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { Type } from 'typebox'
import { MeshError } from '../../shared/errors.ts'
import { type Home, writeState } from '../../shared/home.ts'
import { encodeInvite, inviteIdBytes, inviteProof, inviteSecretBytes, isProof } from '../../shared/identity/invite.ts'
import type { ControlPlaneId } from '../../shared/ids.ts'
import { fromHex } from '../../shared/identity/keys.ts'
import { Hex64, Time } from '../../shared/schema/common.ts'
import { InviteId, type InviteProof, Role } from '../../shared/schema/pool.ts'
import { readChecked } from './checked-state.ts'
import type { LocalPool } from './pools.ts'

const StoredInvite = Type.Object({
  inviteId: InviteId,
  /** Hex; the file has mode 0600. */
  secret: Type.String({ pattern: '^[0-9a-f]{32}$' }),
  role: Role,
  uses: Type.Integer({ minimum: 1 }),
  /** Devices that came in by it. */
  usedBy: Type.Array(Hex64),
  notAfter: Time,
  /** Who gives it out again and again, while it can be used. */
  standing: Type.Optional(Type.String({ minLength: 1, maxLength: 40 })),
})
type StoredInvite = Type.Static<typeof StoredInvite>

const fileOf = (home: Home, poolId: string, inviteId: string): string =>
  join(home.pool(poolId).invites, `${inviteId}.json`)

const save = (home: Home, poolId: string, invite: StoredInvite): void =>
  writeState(fileOf(home, poolId, invite.inviteId), `${JSON.stringify(invite, null, 2)}\n`, 0o600)

export interface InviteTerms {
  readonly role: Role
  readonly uses: number
  readonly notAfter: number
  readonly urls: readonly string[]
  /** Key of the control plane; absent: whoever uses the invite trusts the one that answers. */
  readonly controlPlaneKey?: ControlPlaneId
}

/** Makes an invite and remembers it. @returns the line to hand over; @throws MeshError `stateUnwritable` */
export const makeInvite = (home: Home, pool: LocalPool, terms: InviteTerms): string =>
  lineOf(pool, newInvite(home, pool, terms), terms)

const newInvite = (
  home: Home,
  pool: LocalPool,
  { role, uses, notAfter, standing }: InviteTerms & { readonly standing?: string },
): StoredInvite => {
  const invite: StoredInvite = {
    inviteId: randomBytes(inviteIdBytes).toString('hex'),
    secret: randomBytes(inviteSecretBytes).toString('hex'),
    role,
    uses,
    usedBy: [],
    notAfter,
    ...(standing === undefined ? {} : { standing }),
  }
  save(home, pool.poolId, invite)
  return invite
}

const lineOf = (
  pool: LocalPool,
  { inviteId, secret, notAfter }: Pick<StoredInvite, 'inviteId' | 'secret' | 'notAfter'>,
  { urls, controlPlaneKey }: Pick<InviteTerms, 'urls' | 'controlPlaneKey'>,
): string =>
  encodeInvite({
    controlPlaneKey,
    rootPublicKey: fromHex(pool.rootPublicKey, 32, 'root public key'),
    inviteId,
    secret: fromHex(secret, inviteSecretBytes, 'secret'),
    notAfter,
    urls,
  })

/** Invites of a pool that this device made; a damaged file costs that invite only. */
const storedInvites = (home: Home, poolId: string): StoredInvite[] => {
  const folder = home.pool(poolId).invites
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => /^[0-9a-f]{16}\.json$/.test(name)) : []
  return names.flatMap((name) => {
    try {
      return readChecked(join(folder, name), StoredInvite) ?? []
    } catch {
      return []
    }
  })
}

export interface StandingInvite {
  /** To hand over. */
  readonly line: string
  readonly usesLeft: number
  readonly notAfter: number
}

/** Milliseconds that a standing invite must still hold, so that whoever gets it now can use it. */
const standingMs = 3600e3

/**
 * The invite that was made under that name before, while devices can still come in by it; else a new one.
 * @param standing a name, for example of the command that prints it
 * @throws MeshError `stateUnwritable`
 */
export const standingInvite = (
  home: Home,
  pool: LocalPool,
  standing: string,
  terms: InviteTerms & { readonly now: number },
): StandingInvite => {
  const usable = storedInvites(home, pool.poolId)
    .filter(
      (invite) =>
        invite.standing === standing &&
        invite.role === terms.role &&
        invite.usedBy.length < invite.uses &&
        invite.notAfter > terms.now + standingMs,
    )
    .toSorted((a, b) => b.notAfter - a.notAfter)
  const { inviteId, secret, uses, usedBy, notAfter } = usable[0] ?? newInvite(home, pool, { ...terms, standing })
  return { line: lineOf(pool, { inviteId, secret, notAfter }, terms), usesLeft: uses - usedBy.length, notAfter }
}

/**
 * Takes one use of an invite for a device; the same device again takes none.
 * @returns the role that it gives, or `undefined` for an invite of another admin
 * @throws MeshError `inviteInvalid` (wrong proof) | `inviteExpired` | `inviteUsed` | `stateUnwritable` |
 * `stateUnreadable`
 */
export const takeInvite = (
  home: Home,
  poolId: string,
  { inviteId, proof }: InviteProof,
  { deviceId, now }: { readonly deviceId: string; readonly now: number },
): Role | undefined => {
  const invite = readChecked(fileOf(home, poolId, inviteId), StoredInvite)
  if (invite === undefined) return undefined
  if (!isProof(proof, inviteProof(fromHex(invite.secret, inviteSecretBytes, 'secret'), { poolId, inviteId, deviceId })))
    throw new MeshError('inviteInvalid', { problem: 'its secret is wrong' })
  if (now >= invite.notAfter) throw new MeshError('inviteExpired', { notAfter: invite.notAfter })
  if (invite.usedBy.includes(deviceId)) return invite.role
  if (invite.usedBy.length >= invite.uses) throw new MeshError('inviteUsed', { uses: invite.uses })
  save(home, poolId, { ...invite, usedBy: [...invite.usedBy, deviceId] })
  return invite.role
}
