/** Answers the daemon's questions for credentials, over the stream that it asks on. */
import type { Credentials, Reference } from '@vmkit/oci'
import { AuthRequestSchema, AuthResponseSchema, AuthType } from '../../grpc/generated/transfer_types_pb.js'
import { type AnyStream, packAny, unpackAny } from '../../grpc/transfer-client.js'

/** Where Docker Hub is asked, whose name is another. */
const HUB = 'registry-1.docker.io'

/** Ends with the stream. */
export async function answerAuth(stream: AnyStream, { registry }: Pick<Reference, 'registry'>, credentials: Credentials): Promise<void> {
  for (let message = await stream.next(); message !== undefined; message = await stream.next()) {
    const request = unpackAny(AuthRequestSchema, message)
    // A mirror that the daemon was told of has no business with what the registry is owed; without an answer the daemon would wait.
    const isAsked = request?.host === registry || (registry === 'docker.io' && request?.host === HUB)
    stream.send(packAny(AuthResponseSchema, isAsked ? answerOf(credentials) : { authType: AuthType.NONE }))
  }
}

function answerOf(credentials: Credentials) {
  return 'token' in credentials
    ? { authType: AuthType.REFRESH, secret: credentials.token }
    : { authType: AuthType.CREDENTIALS, username: credentials.username, secret: credentials.password }
}
