// Image with a brush: draws the stroke at hand, and sends it when it ends. The server draws the mask.
export default {
  template: `
    <div class="ek-scroll">
      <div class="ek-stage" :class="{ 'ek-fit': src }" :style="stageStyle" @contextmenu.prevent>
        <img v-if="src" class="ek-image" :src="src" alt="Image to edit" draggable="false" />
        <div v-else class="ek-hint"><slot></slot></div>
        <img v-if="overlay" class="ek-mask" :src="overlay" alt="" draggable="false" @load="clear" />
        <canvas v-show="src" ref="canvas" class="ek-canvas" :class="'ek-' + mode" role="img" aria-label="Brush"
          @pointerdown="start" @pointermove="move" @pointerup="end" @pointercancel="cancelled" @pointerleave="leave"></canvas>
        <div v-show="ring && src && (mode === 'paint' || mode === 'erase')" class="ek-ring" :style="ring"></div>
      </div>
    </div>`,
  props: {
    src: String,
    overlay: String,
    width: { type: Number, default: 1 },
    height: { type: Number, default: 1 },
    size: { type: Number, default: 32 },
    softness: { type: Number, default: 0 },
    mode: { type: String, default: "paint" },
  },
  data() {
    return { points: null, ring: null };
  },
  computed: {
    stageStyle() {
      if (!this.src) return {};
      return { aspectRatio: `${this.width} / ${this.height}`, "--ratio": this.width / this.height };
    },
  },
  watch: {
    src() {
      this.cancel(); // a stroke on the image before
    },
    overlay(value) {
      if (!value) this.clear();
    },
  },
  mounted() {
    this.observer = new ResizeObserver(() => this.fit());
    this.observer.observe(this.$refs.canvas);
  },
  unmounted() {
    this.observer.disconnect();
  },
  methods: {
    fit() {
      const canvas = this.$refs.canvas;
      const longest = Math.max(1, canvas.clientWidth, canvas.clientHeight);
      const scale = Math.min(devicePixelRatio, 8192 / longest); // larger ones are blank in some browsers
      canvas.width = Math.max(1, Math.round(canvas.clientWidth * scale));
      canvas.height = Math.max(1, Math.round(canvas.clientHeight * scale));
    },
    clear() {
      const canvas = this.$refs.canvas;
      if (!this.points) canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    },
    at(event) {
      const box = this.$refs.canvas.getBoundingClientRect();
      return [
        ((event.clientX - box.left) / box.width) * this.width,
        ((event.clientY - box.top) / box.height) * this.height,
      ];
    },
    start(event) {
      if (this.mode === "view") return;
      event.preventDefault();
      if (!event.isPrimary) {
        this.cancel(); // two fingers are no stroke
        return;
      }
      if (this.points && event.pointerId !== this.pointer) return; // the hand that holds a pen
      document.activeElement?.blur(); // keys are for the brush now
      if (this.mode === "points") {
        const [x, y] = this.at(event);
        this.$emit("point", { x, y, outside: event.altKey || event.button === 2 });
        return;
      }
      if (event.button > 0 && event.button !== 5) return;
      try {
        this.$refs.canvas.setPointerCapture(event.pointerId);
      } catch {} // a pointer that is gone
      // The button of a pen's eraser is 5.
      this.erase = this.mode === "erase" || event.button === 5;
      this.pointer = event.pointerId;
      this.points = [this.at(event)];
      this.draw();
    },
    move(event) {
      this.showRing(event);
      if (!this.points || event.pointerId !== this.pointer) return;
      const events = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
      for (const one of events.length ? events : [event]) this.points.push(this.at(one));
      this.draw();
    },
    end(event) {
      if (!this.points || event.pointerId !== this.pointer) return;
      const points = this.thinned(this.points);
      this.points = null;
      this.$emit("stroke", { points, size: this.size, softness: this.softness, erase: this.erase });
    },
    cancelled(event) {
      if (event.pointerId === this.pointer) this.cancel();
    },
    cancel() {
      this.points = null;
      this.clear();
    },
    leave() {
      this.ring = null;
    },
    thinned(points) {
      const least = this.width / this.$refs.canvas.clientWidth / 2;
      const kept = [points[0]];
      for (const point of points) {
        const last = kept[kept.length - 1];
        if (Math.hypot(point[0] - last[0], point[1] - last[1]) >= least) kept.push(point);
      }
      return kept.map(([x, y]) => [Math.round(x * 100) / 100, Math.round(y * 100) / 100]);
    },
    draw() {
      const canvas = this.$refs.canvas;
      const scale = canvas.width / this.width;
      const context = canvas.getContext("2d");
      context.clearRect(0, 0, canvas.width, canvas.height);
      context.strokeStyle = this.erase ? "rgba(255,255,255,.7)" : "rgba(0,120,255,.55)";
      context.lineCap = context.lineJoin = "round";
      context.lineWidth = Math.max(1, this.size * scale * (1 - this.softness / 2));
      context.filter = this.softness > 0 ? `blur(${(this.size * scale * this.softness) / 8}px)` : "none";
      context.beginPath();
      const [first, ...others] = this.points;
      context.moveTo(first[0] * scale, first[1] * scale);
      context.lineTo(first[0] * scale + 0.01, first[1] * scale);
      for (const [x, y] of others) context.lineTo(x * scale, y * scale);
      context.stroke();
    },
    showRing(event) {
      const box = this.$refs.canvas.getBoundingClientRect();
      const side = (this.size * box.width) / this.width;
      this.ring = {
        width: `${side}px`,
        height: `${side}px`,
        left: `${event.clientX - box.left - side / 2}px`,
        top: `${event.clientY - box.top - side / 2}px`,
      };
    },
  },
};
