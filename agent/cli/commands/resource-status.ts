import { Type } from 'typebox'
import { MeshError } from '../../../shared/errors.ts'
import { defineCommand } from '../command.ts'
import { fields } from '../render.ts'
import { readResources, resourceRows, ResourcesAnswer, resourcesAnswer } from '../resource-view.ts'
import { openSession, type Session } from '../session.ts'

/** A status command answers whatever is broken: the failure is part of the answer. */
const recordOf = async ({
  client,
}: Session): Promise<{ readonly statement: string | null } | { readonly problem: string }> => {
  try {
    return await client.call('getLock', {})
  } catch (error) {
    if (error instanceof MeshError) return { problem: error.message }
    throw error
  }
}

export const resourceStatus = defineCommand({
  name: 'resource-status',
  summary: 'memory of this device: what is measured, what is locked, what is left of a cooldown',
  options: ['controlPlane', 'controlPlaneKey', 'json'],
  examples: ['mesh resource-status', 'mesh resource-status --json'],
  json: Type.Object({
    ...ResourcesAnswer.properties,
    recorded: Type.Optional(
      Type.Boolean({ description: 'whether the control plane knows the same; null: it does not answer' }),
    ),
  }),
  run: async (context, values) => {
    const session = openSession(context, values)
    const resources = readResources(context.home, session.device)
    const record = await recordOf(session)
    const isRecorded = 'problem' in record ? undefined : record.statement === (resources.lock?.statement ?? null)
    if (values.json) {
      context.printJson({ ...resourcesAnswer(resources), recorded: isRecorded })
      return
    }
    const recorded =
      'problem' in record
        ? record.problem
        : isRecorded
          ? 'knows the same'
          : 'knows another state; mesh start brings both together'
    context.stdout.write(fields([...resourceRows(resources), ['control plane', recorded]], context.stdout.columns))
  },
})
