/**
 * The parts of zod/mini that vmkit's schemas are made of, bundled and tree-shaken, so that a driver can describe its
 * options without loading a second copy. Importing zod itself costs more than 70 ms at start-up, this about 5.
 */

export type { ZodMiniType } from 'zod/mini'
export {
  array,
  boolean,
  custom,
  discriminatedUnion,
  enum,
  instanceof,
  int,
  literal,
  maxLength,
  minLength,
  number,
  object,
  optional,
  pipe,
  record,
  refine,
  regex,
  strictObject,
  string,
  transform,
  union,
  unknown,
} from 'zod/mini'
