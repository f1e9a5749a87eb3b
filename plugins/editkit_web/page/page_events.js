// Events of the whole page: files that are dropped or pasted anywhere, and keys.
export default {
  template: `<div hidden></div>`,
  props: {
    uploader: Number,
    server: String,
  },
  mounted() {
    this.listeners = { keydown: this.press, dragover: this.allowDrop, drop: this.takeDropped, paste: this.takePasted };
    for (const [name, listener] of Object.entries(this.listeners)) document.addEventListener(name, listener);
    const before = sessionStorage.getItem("editkit-server");
    sessionStorage.setItem("editkit-server", this.server);
    if (before && before !== this.server) this.$emit("restarted");
  },
  unmounted() {
    for (const [name, listener] of Object.entries(this.listeners)) document.removeEventListener(name, listener);
  },
  methods: {
    press(event) {
      // Undoing a stroke would also undo what was last written into a field.
      const undoes = (event.ctrlKey || event.metaKey) && ["y", "z"].includes(event.key.toLowerCase());
      if (undoes && document.activeElement === document.body) event.preventDefault();
      // Escape closes what is open above the page, and only then stops an edit.
      if (event.key === "Escape" && !event.repeat && !document.querySelector(".q-dialog, .q-menu")) this.$emit("stop");
    },
    allowDrop(event) {
      // A browser would leave the page and show the file.
      if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
    },
    takeDropped(event) {
      if (event.defaultPrevented || !event.dataTransfer?.files.length) return;
      event.preventDefault();
      this.upload(event.dataTransfer.files);
    },
    takePasted(event) {
      const data = event.clipboardData;
      const isText = event.target.closest?.("input, textarea") && data?.types.includes("text/plain"); // some have both
      if (isText || !data?.files.length) return;
      event.preventDefault();
      this.upload(data.files);
    },
    upload(files) {
      getElement(this.uploader)?.$refs.qRef.addFiles(files);
    },
  },
};
