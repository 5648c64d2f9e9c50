import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Libp2p, PeerId } from '@libp2p/interface'
import { RelayDoor } from './relay-door.ts'

/** A peer as far as the door looks at it. */
const peerAt = (name: string, host: string): { readonly peer: PeerId; readonly host: string } => {
  const peer = { toString: () => name, equals: (other: unknown) => other === peer } as unknown as PeerId
  return { peer, host }
}

test('relay door: at a relay for everyone one household holds half of the slots', async () => {
  const peers = [
    ...Array.from({ length: 5 }, (_, index) => peerAt(`a${index}`, `/ip6/2001:db8:0:1::${index + 1}`)),
    peerAt('b', '/ip4/198.51.100.7'),
    peerAt('own', '/ip4/127.0.0.1'),
  ]
  const held: PeerId[] = []
  const door = new RelayDoor({ places: 10, maxReservations: 8, holders: () => held })
  door.attach({
    getConnections: (peer: PeerId) =>
      peers.filter((one) => one.peer === peer).map(({ host }) => ({ remoteAddr: `${host}/tcp/1`, timeline: {} })),
  } as unknown as Libp2p)
  const asked = async (name: string): Promise<boolean> => {
    const { peer } = peers.find((one) => one.peer.toString() === name) as (typeof peers)[number]
    const isDenied = (await door.gater.denyInboundRelayReservation?.(peer)) === true
    if (!isDenied) held.push(peer)
    return !isDenied
  }
  const answers: boolean[] = []
  for (const name of ['a0', 'a1', 'a2', 'a3', 'a4', 'b', 'a0', 'own']) answers.push(await asked(name))
  assert.deepEqual(answers, [true, true, true, true, false, true, true, true])
})
