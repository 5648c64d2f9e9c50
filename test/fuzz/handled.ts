import WebSocket from 'ws'

/** Everything that was sent before this call was handled, or the connection is over. */
export const handled = (socket: WebSocket): Promise<void> =>
  new Promise((resolve) => {
    const settle = (): void => {
      socket.off('pong', settle).off('close', settle)
      resolve()
    }
    socket.on('pong', settle).on('close', settle)
    if (socket.readyState === WebSocket.OPEN) socket.ping()
    else settle()
  })
