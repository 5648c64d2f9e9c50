/**
 * Requests that are refused before any route is asked: by Node, which reads HTTP, and by the router, which reads paths.
 * They are told in the same words as everybody else.
 */
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { MeshError } from '../../shared/errors.ts'

const answerOf = (problem: string): string =>
  JSON.stringify({ error: new MeshError('requestInvalid', { problem }).toReport() })

/** What Node could not read as HTTP: nobody else has seen it, and the connection ends. */
export const refuseUnreadable = (error: Error & { readonly code?: string }, socket: Socket): void => {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy()
  const isLate = error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
  const isLarge = error.code === 'HPE_HEADER_OVERFLOW'
  const status = isLate ? '408 Request Timeout' : isLarge ? '431 Request Header Fields Too Large' : '400 Bad Request'
  const body = answerOf(
    isLate ? 'the request did not arrive in time' : `it is not HTTP (${error.code ?? error.message})`,
  )
  socket.end(
    `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ` +
      `${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  )
}

/** `Expect` with another word than 100-continue: Node would answer with a status alone. */
export const refuseExpectations = (app: FastifyInstance): void => {
  app.server.on('checkExpectation', (_request: unknown, response: ServerResponse) => {
    const body = answerOf('the header Expect knows 100-continue alone')
    response
      .writeHead(417, {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
        connection: 'close',
      })
      .end(body)
  })
}
