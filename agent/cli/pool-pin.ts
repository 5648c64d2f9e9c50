/** How a command says which control plane serves a pool: from the newest statement it can find to the next one. */
import type { Client } from '../../shared/api/client.ts'
import { MeshError } from '../../shared/errors.ts'
import { type ControlPlanePin, signPin } from '../../shared/identity/control-plane-pin.ts'
import type { Signer } from '../../shared/identity/pool-certificate.ts'
import type { ControlPlaneId } from '../../shared/ids.ts'
import { Pins } from '../device/pins.ts'
import type { LocalPool } from '../device/pools.ts'
import { Revocations } from '../device/revocations.ts'
import type { CommandContext } from './command.ts'
import { ifReachable } from './session.ts'

/** Attempts when another admin publishes at the same time. */
const attempts = 3

type Place = Pick<CommandContext, 'home' | 'now'>

/** The pins of this home. */
export const openPins = ({ home, now }: Place): Pins => new Pins(home, new Revocations(home, now), now)

/** The control plane that the pool is pinned to, as this device knows it. */
export const pinOf = (context: Place, poolId: string): ControlPlanePin | undefined => openPins(context).pinOf(poolId)

/** Takes what that control plane knows, if it is newer. @throws MeshError of the client, `pinInvalid` */
const fetchPin = async (context: Place, client: Client, poolId: string): Promise<void> => {
  const newest = await ifReachable(client.call('getPin', { params: { poolId } }))
  if ('answer' in newest && newest.answer.pin !== undefined) openPins(context).accept(poolId, newest.answer.pin)
}

interface PinRequest {
  readonly pool: LocalPool
  readonly signer: Signer
  readonly controlPlaneId: ControlPlaneId
  /** That has to take it. */
  readonly client: Client
  /** That shall hear of it if it can: the one that served the pool before. */
  readonly before?: Client
}

/** That one is gone, or no longer what it was: both are reasons to leave it. */
const ifWilling = async (call: Promise<unknown>): Promise<MeshError | undefined> => {
  try {
    await call
    return undefined
  } catch (error) {
    if (error instanceof MeshError) return error
    throw error
  }
}

/**
 * Signs that this control plane serves the pool. It is kept here first, so that the running agent passes it on even
 * where no control plane answers. @returns why the control plane of now, or of before, did not hear of it
 * @throws MeshError of the client | `pinInvalid` | `stateUnwritable`
 */
export const pinPool = async (
  context: Place,
  { pool, signer, controlPlaneId, client, before }: PinRequest,
): Promise<{ readonly pin: ControlPlanePin; readonly problem?: MeshError }> => {
  const { poolId } = pool
  const pins = openPins(context)
  for (let attempt = 1; ; attempt++) {
    await fetchPin(context, client, poolId)
    if (before) await ifWilling(fetchPin(context, before, poolId))
    if (
      !pins.accept(poolId, signPin(signer, { after: pins.pinOf(poolId)?.number ?? 0, controlPlaneId }, context.now()))
    ) {
      throw new MeshError('pinInvalid', {
        problem: 'this device was removed from the pool, or there is no number left for another one',
      })
    }
    const pin = pins.pinOf(poolId)
    if (pin === undefined) throw new MeshError('poolUnknown', { poolId })
    const body = { params: { poolId }, body: { pin: pin.text } }
    try {
      const result = await ifReachable(client.call('publishPin', body))
      const problem = before && (await ifWilling(before.call('publishPin', body)))
      return { pin, problem: 'problem' in result ? result.problem : problem }
    } catch (error) {
      if (attempt === attempts || !(error instanceof MeshError) || error.code !== 'pinInvalid') throw error
    }
  }
}

/**
 * Whoever makes a pool says which control plane serves it; where that was said, nothing changes.
 * @throws as `pinPool`
 */
export const pinNewPool = async (
  context: Place,
  { pool, signer, client }: Pick<PinRequest, 'pool' | 'signer' | 'client'>,
): Promise<void> => {
  await fetchPin(context, client, pool.poolId)
  const key = client.controlPlaneKey
  if (key !== undefined && pinOf(context, pool.poolId) === undefined)
    await pinPool(context, { pool, signer, controlPlaneId: key, client })
}
