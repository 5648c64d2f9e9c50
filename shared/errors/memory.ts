/** Locks of memory, and models that do not fit. */
import type { ErrorRecord } from './record.ts'

export const memoryErrors = {
  notLocked: {
    status: 409,
    exit: 2,
    text: 'no memory of this device is locked',
    hint: 'mesh lock-resources --memory 7GB',
  },
  lockShrinks: {
    status: 409,
    exit: 7,
    text: '{locked} are locked with a cooldown of {cooldown}: a lock can grow, but not shrink',
    hint: 'mesh unlock-resources, and lock less when the cooldown is over',
  },
  lockCooling: {
    status: 409,
    exit: 7,
    text: '{locked} stay locked until about {until} ({left} left of the cooldown)',
    hint: 'lock as much or more now, or less after that time; mesh resource-status shows what is left',
  },
  lockInvalid: {
    status: 400,
    exit: 7,
    text: 'the statement on locked memory is not valid: {problem}',
    hint: 'mesh lock-resources --memory 7GB signs a new one',
  },
  memoryShort: {
    status: 409,
    exit: 3,
    text: '{wanted} cannot be locked: {problem}',
    hint: 'lock less, or end programs that use memory; mesh resource-status shows what was measured',
  },
  ringTooLarge: {
    status: 409,
    exit: 6,
    text:
      '{modelId} {quant} does not fit: {device} lacks {lacks} (its part needs {needs}, ' +
      '{room} of its memory may be used){without|}',
    hint:
      'lock more memory there (mesh lock-resources --memory SIZE), ' +
      'add a device (mesh join-ring --model-id {modelId} there), or use a smaller --quant',
  },
} as const satisfies Record<string, ErrorRecord>
