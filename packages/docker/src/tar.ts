/** Loads tar-stream when the first archive is made or read: an app that touches no file should not pay for it. */
export async function loadTar() {
  return (await import('tar-stream')).default
}
