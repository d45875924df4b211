/** Numbers of containerd's enumerations, apart from the generated code, which is loaded on first use only. */

/** `containerd.v1.types.Status`, of a task. */
export const TASK_STATUS = { unknown: 0, created: 1, running: 2, stopped: 3, paused: 4, pausing: 5 } as const

/** `containerd.services.content.v1.WriteAction`. */
export const WRITE_ACTION = { stat: 0, write: 1, commit: 2 } as const
