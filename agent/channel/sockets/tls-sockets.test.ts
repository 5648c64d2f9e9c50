/** Real sockets between ranks, and all who try to get in between. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect as connectPlain, createServer, type Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { afterEach, before, describe, it } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { certificateOf } from './test/certificates.ts'
import { fingerprintOf, type LinkCertificate, LinkListener, type LinkPeer } from './tls-sockets.ts'

const connectMs = 30_000

interface Rank {
  readonly listener: LinkListener
  /** What it needs to link to the others. */
  readonly peers: readonly LinkPeer[]
}

/** Connections and servers of this process that are open. */
const openSockets = (): number => process.getActiveResourcesInfo().filter((name) => /^(TCP|TLS)/.test(name)).length

const until = async (isSo: () => boolean, what: string, ms = 30_000): Promise<void> => {
  const end = performance.now() + ms
  while (!isSo()) {
    if (performance.now() > end) assert.fail(`${what} did not come true within ${ms} ms`)
    await pause(5)
  }
}

const isClosed = (socket: Socket): Promise<void> => until(() => socket.destroyed, 'a closed connection')

describe('sockets between ranks', () => {
  let certificates: LinkCertificate[]
  let stranger: LinkCertificate
  const guests: Socket[] = []
  const listeners: LinkListener[] = []
  before(async () => {
    ;[stranger, ...certificates] = await Promise.all([3, 0, 1, 2].map(certificateOf))
  })
  afterEach(async () => {
    for (const guest of guests.splice(0)) guest.destroy()
    try {
      await until(() => openSockets() === 0, 'no socket left')
    } finally {
      for (const listener of listeners.splice(0)) listener.close()
    }
  })

  /** Ranks that listen; the lower one dials. */
  const listening = async (count: number): Promise<Rank[]> => {
    const made = await Promise.all(
      certificates.slice(0, count).map((certificate) => LinkListener.listen(certificate, '127.0.0.1')),
    )
    listeners.push(...made)
    return made.map((listener, own) => ({
      listener,
      peers: made.flatMap(({ port }, rank) =>
        rank === own
          ? []
          : [
              {
                rank,
                fingerprint: fingerprintOf(certificates[rank]),
                ...(rank > own ? { dial: { host: '127.0.0.1', port } } : {}),
              },
            ],
      ),
    }))
  }

  const link = ({ listener, peers }: Rank, ms = connectMs): Promise<Map<number, TLSSocket>> =>
    listener.connect(peers, ms)

  /** All have sockets to all, each to the right one; then all are closed. */
  const checkLinked = async (all: readonly Map<number, TLSSocket>[]): Promise<void> => {
    for (const [own, sockets] of all.entries()) {
      assert.equal(sockets.size, all.length - 1)
      for (const [other, socket] of sockets) {
        assert.equal(socket.getProtocol(), 'TLSv1.3')
        socket.write(`${own} to ${other}`)
      }
    }
    for (const [own, sockets] of all.entries())
      for (const [other, socket] of sockets) assert.equal(String((await once(socket, 'data'))[0]), `${other} to ${own}`)
    for (const sockets of all) for (const socket of sockets.values()) socket.destroy()
  }

  const portOf = (rank: Rank): number => rank.listener.port

  /** Somebody at the port of that rank. */
  const visit = (port: number, certificate?: LinkCertificate): TLSSocket => {
    const socket = connectTls({
      port,
      host: '127.0.0.1',
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
      ...certificate,
    })
    socket.on('error', () => {})
    guests.push(socket)
    return socket
  }

  const visitPlainly = (port: number): Socket => {
    const socket = connectPlain({ port, host: '127.0.0.1' })
    socket.on('error', () => {})
    guests.push(socket)
    return socket
  }

  for (const count of [2, 3]) {
    for (const [order, first] of [
      ['the dialer', 0],
      ['the listener', count - 1],
    ] as const) {
      it(`${count} ranks link when ${order} comes first`, async () => {
        const ranks = await listening(count)
        const early = link(ranks[first])
        await pause(100)
        const others = await Promise.all(ranks.map((rank, own) => (own === first ? early : link(rank))))
        await checkLinked(others)
      })
    }
  }

  it('a dialer is not linked before the listener knows it', async () => {
    const ranks = await listening(2)
    let isLinked = false
    const dialing = link(ranks[0]).then((sockets) => {
      isLinked = true
      return sockets
    })
    await pause(300)
    assert.equal(isLinked, false)
    await checkLinked(await Promise.all([dialing, link(ranks[1])]))
  })

  const intruders: Readonly<Record<string, (port: number) => Socket>> = {
    'with another certificate': (port) => visit(port, stranger),
    'without a certificate': (port) => visit(port),
    'with an older TLS': (port) => {
      const socket = connectTls({
        port,
        host: '127.0.0.1',
        rejectUnauthorized: false,
        maxVersion: 'TLSv1.2',
        ...stranger,
      })
      socket.on('error', () => {})
      guests.push(socket)
      return socket
    },
    'who speaks no TLS': (port) => {
      const socket = visitPlainly(port)
      socket.write('GET / HTTP/1.1\r\n\r\n')
      return socket
    },
    'who stays silent': visitPlainly,
    'who resets the connection': (port) => {
      const socket = visitPlainly(port)
      socket.once('connect', () => socket.resetAndDestroy())
      return socket
    },
  }

  for (const [who, come] of Object.entries(intruders)) {
    for (const when of ['before', 'after'] as const) {
      it(`a stranger ${who} gets nothing, ranks link all the same: it comes ${when} they do`, async () => {
        const ranks = await listening(2)
        const came = (): Socket => {
          const socket = come(portOf(ranks[1]))
          socket.on('data', () => assert.fail('something was said to a stranger'))
          return socket
        }
        const early = when === 'before' ? came() : undefined
        if (early) await pause(50)
        const waiting = link(ranks[1])
        const socket = early ?? came()
        if (!early) await pause(50)
        const all = await Promise.all([link(ranks[0]), waiting])
        await isClosed(socket)
        await checkLinked(all)
      })
    }
  }

  it('of hundreds of strangers none gets in, and ranks link all the same', async () => {
    const ranks = await listening(2)
    const port = portOf(ranks[1])
    const some = (count: number): Socket[] =>
      Array.from({ length: count }, (_, i) => (i % 2 === 0 ? visit(port, stranger) : visitPlainly(port)))
    const early = some(150)
    await pause(100)
    const dialing = link(ranks[0])
    await pause(100)
    const between = some(150)
    await pause(300)
    assert.ok(openSockets() < 600)
    const all = await Promise.all([dialing, link(ranks[1])])
    for (const socket of [...early, ...between]) await isClosed(socket)
    await checkLinked(all)
  })

  it('no more than some strangers are held at once, the oldest leaves first', async () => {
    const [rank] = await listening(1)
    const first = visitPlainly(portOf(rank))
    await once(first, 'connect')
    const others = Array.from({ length: 100 }, () => visitPlainly(portOf(rank)))
    await isClosed(first)
    const left = (): number => others.filter((socket) => !socket.destroyed).length
    await until(() => left() <= 64, 'no more than 64 left')
    assert.ok(left() > 0, 'some are left')
    rank.listener.close()
    for (const socket of others) await isClosed(socket)
  })

  it('who does not finish the handshake is cut off', async () => {
    const [rank] = await listening(1)
    await isClosed(visitPlainly(portOf(rank)))
    rank.listener.close()
  })

  it('once all are linked nobody listens any more', async () => {
    const ranks = await listening(2)
    const port = portOf(ranks[1])
    const all = await Promise.all(ranks.map((rank) => link(rank)))
    const [error] = (await once(visitPlainly(port), 'error')) as [NodeJS.ErrnoException]
    assert.equal(error.code, 'ECONNREFUSED')
    await checkLinked(all)
  })

  it('a peer that shows another certificate than announced is refused by the dialer, at once and by name', async () => {
    const ranks = await listening(2)
    const started = performance.now()
    const waiting = assert.rejects(link(ranks[1], 500), /not all ranks were linked within 500 ms: 0 missing/)
    await assert.rejects(
      ranks[0].listener.connect([{ ...ranks[0].peers[0], fingerprint: fingerprintOf(stranger) }], connectMs),
      /a certificate that was not announced/,
    )
    assert.ok(performance.now() - started < connectMs, 'not by its deadline')
    await waiting
  })

  it('a dialer with another certificate than announced is not let in, and learns of it at its deadline', async () => {
    const ranks = await listening(2)
    const posing = await LinkListener.listen(stranger, '127.0.0.1')
    const waiting = assert.rejects(link(ranks[1], 300), /0 missing/)
    await assert.rejects(posing.connect(ranks[0].peers, 1000))
    await waiting
    ranks[0].listener.close()
  })

  it('where nobody listens the dialer fails at once', async () => {
    const ranks = await listening(2)
    ranks[1].listener.close()
    const started = performance.now()
    await assert.rejects(link(ranks[0]), { code: 'ECONNREFUSED' })
    assert.ok(performance.now() - started < connectMs, 'not by its deadline')
  })

  it('one that answers nothing, one that only hangs up: the dialer fails at its deadline and leaves nothing open', async () => {
    const held: Socket[] = []
    for (const answer of [(socket: Socket) => void held.push(socket), (socket: Socket) => void socket.destroy()]) {
      const server = createServer(answer)
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      const [rank] = await listening(1)
      await assert.rejects(
        rank.listener.connect(
          [
            {
              rank: 1,
              fingerprint: fingerprintOf(stranger),
              dial: { host: '127.0.0.1', port: (server.address() as AddressInfo).port },
            },
          ],
          300,
        ),
        /within 300 ms: 1 missing/,
      )
      for (const socket of held.splice(0)) await isClosed(socket.resume())
      server.close()
    }
  })

  it('one rank that is missing ends the links of the others, on both sides', async () => {
    const ranks = await listening(3)
    ranks[2].listener.close()
    const both = ranks.slice(0, 2).map((rank) => assert.rejects(link(rank, 500)))
    await Promise.all(both)
    await until(() => openSockets() === 0, 'no socket left')
  })

  it('a listener that is closed before anybody asked leaves nothing open', async () => {
    const ranks = await listening(3)
    const early = [
      visit(portOf(ranks[1]), certificates[0]),
      visit(portOf(ranks[1]), stranger),
      visitPlainly(portOf(ranks[1])),
    ]
    await pause(50)
    for (const { listener } of ranks) listener.close()
    for (const socket of early) await isClosed(socket)
  })

  it('listens elsewhere when an interface is not there, as :: without IPv6, and says so when there is no other way', async () => {
    const nowhere = '2001:db8::1' // for documentation: no machine has it
    const listener = await LinkListener.listen(certificates[1], nowhere, '127.0.0.1')
    const [rank] = await listening(1)
    const dialing = rank.listener.connect(
      [{ rank: 1, fingerprint: fingerprintOf(certificates[1]), dial: { host: '127.0.0.1', port: listener.port } }],
      connectMs,
    )
    await checkLinked(
      await Promise.all([
        dialing,
        listener.connect([{ rank: 0, fingerprint: fingerprintOf(certificates[0]) }], connectMs),
      ]),
    )
    await assert.rejects(LinkListener.listen(certificates[1], nowhere), { code: /EADDRNOTAVAIL|EAFNOSUPPORT|EINVAL/ })
  })

  it('at :: both kinds of addresses reach it', async () => {
    const loopback = Object.values(networkInterfaces())
      .flatMap((addresses) => addresses ?? [])
      .filter(({ internal }) => internal)
    for (const { address: host } of loopback) {
      const listener = await LinkListener.listen(certificates[1], '::')
      const [rank] = await listening(1)
      const dialing = rank.listener.connect(
        [{ rank: 1, fingerprint: fingerprintOf(certificates[1]), dial: { host, port: listener.port } }],
        connectMs,
      )
      await checkLinked(
        await Promise.all([
          dialing,
          listener.connect([{ rank: 0, fingerprint: fingerprintOf(certificates[0]) }], connectMs),
        ]),
      )
    }
  })
})
