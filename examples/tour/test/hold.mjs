/** Loaded into the tour: nobody answers its second server, and it says so until it is told to end. So it is in the middle for sure. */
const answered = globalThis.fetch
let calls = 0

globalThis.fetch = (url, options) => {
  calls += 1
  // The first server is the mock's: it is called, and called again.
  if (calls <= 2) return answered(url, options)
  const { signal } = options
  return new Promise((_resolve, reject) => {
    const saying = setInterval(() => console.log('no answer'), 10)
    const end = () => {
      clearInterval(saying)
      reject(signal.reason)
    }
    if (signal.aborted) end()
    else signal.addEventListener('abort', end, { once: true })
  })
}
