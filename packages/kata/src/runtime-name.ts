/** `kata` → `io.containerd.kata.v2`, `kata-qemu` → `io.containerd.kata-qemu.v2`; whole names and paths stay. */
export function runtimeName(runtime: string): string {
  return /^kata(?:-[\w-]+)?$/.test(runtime) ? `io.containerd.${runtime}.v2` : runtime
}
