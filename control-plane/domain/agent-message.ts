/** Messages of agents as they come: text of a stranger until it is checked. */
import { Value } from 'typebox/value'
import { AgentMessage } from '../../shared/api/messages.ts'
import { MeshError } from '../../shared/errors.ts'
import { oneLine } from '../../shared/text.ts'

/** What others are shown of it: failures are kept and told to the whole pool. */
const cleaned = (message: AgentMessage): AgentMessage => {
  const shown =
    'error' in message && message.error ? { ...message, error: MeshError.cleanReport(message.error) } : message
  if (shown.type !== 'ring-state') return shown
  const { network, checks } = shown
  return {
    ...shown,
    ...(network?.streamsReason === undefined
      ? {}
      : { network: { ...network, streamsReason: oneLine(network.streamsReason) } }),
    ...(checks
      ? { checks: checks.map((one) => (one.problem === undefined ? one : { ...one, problem: oneLine(one.problem) })) }
      : {}),
  }
}

/** What an agent says, checked and cleaned. @throws MeshError `requestInvalid` */
export const readAgentMessage = (text: string): AgentMessage => {
  let message: unknown
  try {
    message = JSON.parse(text)
  } catch (error) {
    throw new MeshError('requestInvalid', { problem: 'not JSON' }, error)
  }
  if (!Value.Check(AgentMessage, message)) {
    const [first] = Value.Errors(AgentMessage, message)
    throw new MeshError('requestInvalid', {
      problem: `${first?.instancePath || 'message'} ${first?.message ?? 'is malformed'}`,
    })
  }
  return cleaned(message)
}
